#include "canonical_form.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace hwnas {
namespace {

using Digest = GraphHash::Digest;
using Node = std::uint8_t;
using Colours = std::array<std::uint64_t, kMostKeyedNodes>;
using Order = std::array<Node, kMostKeyedNodes>;

constexpr std::uint64_t kFormDomain = 16;
constexpr std::uint64_t kIn = 0x9e3779b97f4a7c15ULL;
constexpr std::uint64_t kOut = 0xc2b2ae3d27d4eb4fULL;
constexpr std::uint64_t kMark = 0xd1342543de82ef95ULL;

// Lists the entries of `joins`, so that a round of refinement touches edges only.
struct Join {
    Node from;
    Node to;
    std::uint64_t count;
    std::uint64_t weight;  // spread over all bits
};

class Search {
  public:
    explicit Search(const SmallGraph& graph) : graph_(graph), n_(graph.nodes) {
        for (std::size_t to = 0; to < n_; ++to) {
            for (std::size_t from = 0; from < n_; ++from) {
                const std::uint64_t count = graph.joins[to][from];
                if (count == 0) continue;
                joins_[n_joins_++] = {static_cast<Node>(from), static_cast<Node>(to), count,
                                      count == 1 ? 1 : mix_bits(count) | 1};
            }
        }
    }

    Digest run() {
        Colours colours;
        for (std::size_t v = 0; v < n_; ++v) colours[v] = mix_bits(graph_.labels[v]);
        refine(colours);
        explore(colours);
        return best_.digest;
    }

  private:
    struct Form {
        Digest digest;
        Order order;
        std::vector<Node> apart;  // nodes set apart, in turn
    };
    static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

    std::size_t count_distinct(const Colours& colours) {
        std::copy_n(colours.begin(), n_, sorted_.begin());
        std::sort(sorted_.begin(), sorted_.begin() + n_);
        std::size_t distinct = n_ == 0 ? 0 : 1;
        for (std::size_t i = 1; i < n_; ++i) distinct += sorted_[i] != sorted_[i - 1];
        return distinct;
    }

    // Refines until a round splits nothing; leaves the sorted colours in sorted_.
    std::size_t refine(Colours& colours) {
        std::size_t distinct = count_distinct(colours);
        while (true) {
            Colours sums;
            std::fill_n(sums.begin(), n_, 0);
            for (std::size_t j = 0; j < n_joins_; ++j) {
                const Join& join = joins_[j];
                sums[join.to] += kIn * join.weight * colours[join.from];
                sums[join.from] += kOut * join.weight * colours[join.to];
            }
            for (std::size_t v = 0; v < n_; ++v) colours[v] = mix_bits(colours[v] + sums[v]);
            const std::size_t now = count_distinct(colours);
            if (now == distinct) return now;
            distinct = now;
        }
    }

    // All nodes have colours of their own, which number them.
    void take_form(const Colours& colours) {
        if (++forms_ > kMostForms) {
            throw std::length_error("the graph is too regular to be keyed");
        }
        Order order, number;
        std::iota(order.begin(), order.begin() + n_, Node{0});
        std::sort(order.begin(), order.begin() + n_,
                  [&](Node x, Node y) { return colours[x] < colours[y]; });
        for (std::size_t i = 0; i < n_; ++i) number[order[i]] = static_cast<Node>(i);
        GraphHash hash(kFormDomain);
        hash.absorb(n_);
        for (std::size_t i = 0; i < n_; ++i) hash.absorb(graph_.labels[order[i]]);
        entries_.clear();
        for (std::size_t j = 0; j < n_joins_; ++j) {
            const Join& join = joins_[j];
            const auto place =
                static_cast<std::uint64_t>(number[join.to]) << 8 | number[join.from];
            entries_.push_back({place, join.count});
        }
        std::sort(entries_.begin(), entries_.end());
        for (const auto& [place, count] : entries_) {
            hash.absorb(place);
            hash.absorb(count);
        }
        const Digest digest = hash.digest();
        const Form form{digest, order, apart_};
        if (forms_ == 1) {
            first_ = best_ = form;
            return;
        }
        if (digest == first_.digest) {
            add_automorphism(first_, form);
        } else if (digest == best_.digest) {
            add_automorphism(best_, form);
        }
        if (digest < best_.digest) best_ = form;
    }

    // Two numberings that give one form: mapping one onto the other keeps the graph. The branches
    // in which the two part are then each other's image, so that the rest of the later one is
    // left out.
    void add_automorphism(const Form& from, const Form& to) {
        Order image;
        for (std::size_t i = 0; i < n_; ++i) image[from.order[i]] = to.order[i];
        for (std::size_t v = 0; v < n_; ++v) {
            if (graph_.labels[v] != graph_.labels[image[v]]) return;
        }
        for (std::size_t j = 0; j < n_joins_; ++j) {
            const Join& join = joins_[j];
            if (graph_.joins[image[join.to]][image[join.from]] != join.count) return;
        }
        automorphisms_.push_back(image);
        std::size_t shared = 0;
        const std::size_t depth = std::min(from.apart.size(), to.apart.size());
        while (shared < depth && from.apart[shared] == to.apart[shared] &&
               image[from.apart[shared]] == to.apart[shared]) {
            ++shared;
        }
        if (shared < depth && image[from.apart[shared]] == to.apart[shared]) return_to_ = shared;
    }

    static Node root(Order& parent, Node v) {
        while (parent[v] != v) v = parent[v] = parent[parent[v]];
        return v;
    }

    // Whether `node` lies in the orbit of a node tried before, under the automorphisms that keep
    // all nodes set apart so far.
    bool is_equivalent(Node node, const std::vector<Node>& tried) const {
        Order parent;
        std::iota(parent.begin(), parent.begin() + n_, Node{0});
        for (const Order& image : automorphisms_) {
            const bool keeps =
                std::all_of(apart_.begin(), apart_.end(), [&](Node v) { return image[v] == v; });
            if (!keeps) continue;
            for (std::size_t v = 0; v < n_; ++v) {
                parent[root(parent, static_cast<Node>(v))] = root(parent, image[v]);
            }
        }
        const Node own = root(parent, node);
        return std::any_of(tried.begin(), tried.end(),
                           [&](Node other) { return root(parent, other) == own; });
    }

    // The smallest class of nodes that share a colour, of least colour: sorted_ holds the colours.
    std::uint64_t shared_colour() const {
        std::uint64_t colour = 0;
        std::size_t smallest = n_ + 1;
        for (std::size_t i = 0; i < n_;) {
            std::size_t end = i + 1;
            while (end < n_ && sorted_[end] == sorted_[i]) ++end;
            if (end - i > 1 && end - i < smallest) {
                smallest = end - i;
                colour = sorted_[i];
            }
            i = end;
        }
        return colour;
    }

    void explore(const Colours& colours) {
        if (count_distinct(colours) == n_) return take_form(colours);
        const std::uint64_t colour = shared_colour();
        std::vector<Node> tried;
        for (std::size_t v = 0; v < n_; ++v) {
            if (colours[v] != colour) continue;
            const auto node = static_cast<Node>(v);
            if (!tried.empty() && is_equivalent(node, tried)) continue;
            Colours marked = colours;
            marked[v] = mix_bits(colour + kMark);
            refine(marked);
            apart_.push_back(node);
            explore(marked);
            apart_.pop_back();
            if (return_to_ < apart_.size()) return;
            return_to_ = kNowhere;
            tried.push_back(node);
        }
    }

    const SmallGraph& graph_;
    std::size_t n_;
    std::array<Join, kMostKeyedNodes * kMostKeyedNodes> joins_;
    std::size_t n_joins_ = 0;
    Colours sorted_;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> entries_;
    std::size_t forms_ = 0;
    Form best_, first_;
    std::size_t return_to_ = kNowhere;  // depth of the search that goes on
    std::vector<Order> automorphisms_;
    std::vector<Node> apart_;
};

}  // namespace

Digest canonical_form(const SmallGraph& graph) { return Search(graph).run(); }

}  // namespace hwnas
