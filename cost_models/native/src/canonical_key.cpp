#include "hwnas/canonical_key.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "graph_hash.hpp"

namespace hwnas {
namespace {

using Index = std::uint32_t;

using Digest = GraphHash::Digest;

enum Domain : std::uint64_t { kGraph = 1, kColour, kMark, kPiece };

std::string name_node(std::int64_t node) { return "node " + std::to_string(node); }

struct Link {
    Index node;
    std::int32_t slot;
};

// Lists of links, one a node, in one array.
struct Links {
    std::vector<Index> begin;
    std::vector<Link> items;

    const Link* first(Index v) const { return items.data() + begin[v]; }
    const Link* last(Index v) const { return items.data() + begin[v + 1]; }
    Index count(Index v) const { return begin[v + 1] - begin[v]; }
};

// Links of each destination to its sources, in slot order.
Links collect_inputs(Index nodes, const std::vector<GraphEdge>& edges) {
    Links links;
    links.begin.assign(nodes + 1, 0);
    links.items.resize(edges.size());
    for (const GraphEdge& e : edges) ++links.begin[static_cast<Index>(e.destination) + 1];
    for (Index v = 0; v < nodes; ++v) links.begin[v + 1] += links.begin[v];
    std::vector<Index> next(links.begin.begin(), links.begin.end() - 1);
    for (const GraphEdge& e : edges) {
        links.items[next[static_cast<Index>(e.destination)]++] = {static_cast<Index>(e.source),
                                                                  e.slot};
    }
    for (Index v = 0; v < nodes; ++v) {
        Link* first = links.items.data() + links.begin[v];
        Link* last = links.items.data() + links.begin[v + 1];
        std::sort(first, last, [](const Link& x, const Link& y) { return x.slot < y.slot; });
        for (Link* link = first; link + 1 < last; ++link) {
            if (link[0].slot == link[1].slot) {
                throw std::invalid_argument(name_node(v) + " has two inputs in slot " +
                                            std::to_string(link->slot));
            }
        }
    }
    return links;
}

Links collect_users(Index nodes, const std::vector<GraphEdge>& edges) {
    Links links;
    links.begin.assign(nodes + 1, 0);
    links.items.resize(edges.size());
    for (const GraphEdge& e : edges) ++links.begin[static_cast<Index>(e.source) + 1];
    for (Index v = 0; v < nodes; ++v) links.begin[v + 1] += links.begin[v];
    std::vector<Index> next(links.begin.begin(), links.begin.end() - 1);
    for (const GraphEdge& e : edges) {
        links.items[next[static_cast<Index>(e.source)]++] = {static_cast<Index>(e.destination),
                                                             e.slot};
    }
    return links;
}

void require_acyclic(const Links& inputs, const Links& users) {
    const auto nodes = static_cast<Index>(inputs.begin.size() - 1);
    std::vector<Index> waiting(nodes), ready;
    for (Index v = 0; v < nodes; ++v) {
        waiting[v] = inputs.count(v);
        if (waiting[v] == 0) ready.push_back(v);
    }
    for (std::size_t i = 0; i < ready.size(); ++i) {
        for (const Link* u = users.first(ready[i]); u != users.last(ready[i]); ++u) {
            if (--waiting[u->node] == 0) ready.push_back(u->node);
        }
    }
    if (ready.size() == nodes) return;
    // Walking backwards along inputs that still wait must enter the cycle; after `nodes` steps it
    // is there.
    Index v = 0;
    while (waiting[v] == 0) ++v;
    for (Index step = 0; step < nodes; ++step) {
        for (const Link* s = inputs.first(v); s != inputs.last(v); ++s) {
            if (waiting[s->node] != 0) {
                v = s->node;
                break;
            }
        }
    }
    throw std::invalid_argument("the graph has a cycle through " + name_node(v));
}

constexpr Index kUnnumbered = static_cast<Index>(-1);

// Numbers the live nodes in the order of a depth-first walk from the outputs; fills `order` with
// them.
std::vector<Index> number_live(const Links& inputs, const std::vector<std::int32_t>& outputs,
                               std::vector<Index>& order) {
    std::vector<Index> number(inputs.begin.size() - 1, kUnnumbered);
    std::vector<Index> stack;
    for (std::int32_t output : outputs) {
        stack.push_back(static_cast<Index>(output));
        while (!stack.empty()) {
            const Index v = stack.back();
            stack.pop_back();
            if (number[v] != kUnnumbered) continue;
            number[v] = static_cast<Index>(order.size());
            order.push_back(v);
            for (const Link* s = inputs.last(v); s != inputs.first(v);) {
                --s;
                if (number[s->node] == kUnnumbered) stack.push_back(s->node);
            }
        }
    }
    return number;
}

// One connected piece of dead nodes, with local indices.
class DeadPiece {
  public:
    DeadPiece(const std::vector<Index>& nodes, const std::vector<std::string_view>& labels,
              const Links& inputs, const Links& users, const std::vector<Index>& number,
              std::vector<Index>& local)
        : size_(nodes.size()),
          colours_(nodes.size()),
          inputs_(nodes.size()),
          users_(nodes.size()) {
        for (std::size_t i = 0; i < size_; ++i) local[nodes[i]] = static_cast<Index>(i);
        for (std::size_t i = 0; i < size_; ++i) {
            const Index v = nodes[i];
            GraphHash hash(kColour);
            hash.absorb(labels[v]);
            hash.absorb(inputs.count(v));
            for (const Link* s = inputs.first(v); s != inputs.last(v); ++s) {
                const bool live = number[s->node] != kUnnumbered;
                hash.absorb(static_cast<std::uint64_t>(s->slot));
                hash.absorb(live ? number[s->node] + std::uint64_t{1} : 0);
                if (!live) inputs_[i].push_back({local[s->node], s->slot});
            }
            // A user of a dead node is dead, or the node would be live.
            for (const Link* u = users.first(v); u != users.last(v); ++u) {
                users_[i].push_back({local[u->node], u->slot});
            }
            colours_[i] = hash.digest();
        }
    }

    Digest key() const {
        std::vector<Digest> colours = refine(colours_);
        std::vector<Digest> final = colours;
        if (size_ <= kMostMarked) {
            std::vector<Digest> sorted = colours;
            std::sort(sorted.begin(), sorted.end());
            for (std::size_t i = 0; i < size_; ++i) {
                const auto range = std::equal_range(sorted.begin(), sorted.end(), colours[i]);
                if (range.second - range.first == 1) continue;
                std::vector<Digest> marked = colours;
                GraphHash mark(kMark);
                mark.absorb(colours[i]);
                marked[i] = mark.digest();
                GraphHash hash(kColour);
                hash.absorb(colours[i]);
                hash.absorb(digest_set(refine(std::move(marked))));
                final[i] = hash.digest();
            }
        }
        return digest_set(std::move(final));
    }

  private:
    static constexpr std::size_t kMostMarked = 256;

    static std::size_t count_distinct(std::vector<Digest> colours) {
        std::sort(colours.begin(), colours.end());
        return static_cast<std::size_t>(std::unique(colours.begin(), colours.end()) -
                                        colours.begin());
    }

    static Digest digest_set(std::vector<Digest> colours) {
        std::sort(colours.begin(), colours.end());
        GraphHash hash(kPiece);
        hash.absorb(colours.size());
        for (const Digest& colour : colours) hash.absorb(colour);
        return hash.digest();
    }

    std::vector<Digest> refine(std::vector<Digest> colours) const {
        std::size_t distinct = count_distinct(colours);
        std::vector<Digest> next(size_), from_users;
        while (true) {
            for (std::size_t i = 0; i < size_; ++i) {
                GraphHash hash(kColour);
                hash.absorb(colours[i]);
                for (const Link& s : inputs_[i]) hash.absorb(colours[s.node]);
                from_users.clear();
                for (const Link& u : users_[i]) {
                    GraphHash use(kColour);
                    use.absorb(static_cast<std::uint64_t>(u.slot));
                    use.absorb(colours[u.node]);
                    from_users.push_back(use.digest());
                }
                std::sort(from_users.begin(), from_users.end());
                hash.absorb(from_users.size());
                for (const Digest& use : from_users) hash.absorb(use);
                next[i] = hash.digest();
            }
            colours.swap(next);
            const std::size_t now = count_distinct(colours);
            // The round that splits nothing is kept: it has told each node about the last split.
            if (now == distinct) return colours;
            distinct = now;
        }
    }

    std::size_t size_;
    std::vector<Digest> colours_;
    std::vector<std::vector<Link>> inputs_;
    std::vector<std::vector<Link>> users_;
};

std::vector<Digest> key_dead(const std::vector<std::string_view>& labels, const Links& inputs,
                             const Links& users, const std::vector<Index>& number) {
    const auto nodes = static_cast<Index>(labels.size());
    std::vector<Digest> keys;
    std::vector<bool> seen(nodes, false);
    std::vector<Index> local(nodes, 0), piece;
    for (Index root = 0; root < nodes; ++root) {
        if (number[root] != kUnnumbered || seen[root]) continue;
        piece.assign(1, root);
        seen[root] = true;
        const auto visit = [&](const Link* first, const Link* last) {
            for (; first != last; ++first) {
                if (number[first->node] == kUnnumbered && !seen[first->node]) {
                    seen[first->node] = true;
                    piece.push_back(first->node);
                }
            }
        };
        for (std::size_t i = 0; i < piece.size(); ++i) {
            const Index v = piece[i];
            visit(inputs.first(v), inputs.last(v));
            visit(users.first(v), users.last(v));
        }
        keys.push_back(DeadPiece(piece, labels, inputs, users, number, local).key());
    }
    std::sort(keys.begin(), keys.end());
    return keys;
}

void require_indices(std::size_t nodes, const std::vector<GraphEdge>& edges,
                     const std::vector<std::int32_t>& outputs) {
    if (nodes >= kUnnumbered / 2) throw std::invalid_argument("the graph has too many nodes");
    const auto exists = [nodes](std::int32_t node) {
        return node >= 0 && static_cast<std::size_t>(node) < nodes;
    };
    for (std::size_t e = 0; e < edges.size(); ++e) {
        for (std::int32_t node : {edges[e].source, edges[e].destination}) {
            if (!exists(node)) {
                throw std::invalid_argument("edge " + std::to_string(e) + " names " +
                                            name_node(node) + " of " + std::to_string(nodes));
            }
        }
        if (edges[e].slot < 0) {
            throw std::invalid_argument(name_node(edges[e].destination) +
                                        " has an input in slot " + std::to_string(edges[e].slot));
        }
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        if (!exists(outputs[i])) {
            throw std::invalid_argument("output " + std::to_string(i) + " names " +
                                        name_node(outputs[i]) + " of " + std::to_string(nodes));
        }
    }
}

}  // namespace

GraphKey canonical_key(const std::vector<std::string_view>& labels,
                       const std::vector<GraphEdge>& edges,
                       const std::vector<std::int32_t>& outputs) {
    require_indices(labels.size(), edges, outputs);
    const auto nodes = static_cast<Index>(labels.size());
    const Links inputs = collect_inputs(nodes, edges);
    const Links users = collect_users(nodes, edges);
    require_acyclic(inputs, users);

    std::vector<Index> order;
    order.reserve(nodes);
    const std::vector<Index> number = number_live(inputs, outputs, order);
    GraphHash hash(kGraph);
    hash.absorb(order.size());
    for (Index v : order) {
        hash.absorb(labels[v]);
        hash.absorb(inputs.count(v));
        for (const Link* s = inputs.first(v); s != inputs.last(v); ++s) {
            hash.absorb(static_cast<std::uint64_t>(s->slot) << 32 | number[s->node]);
        }
    }
    hash.absorb(outputs.size());
    for (std::int32_t output : outputs) hash.absorb(number[static_cast<Index>(output)]);

    std::vector<Digest> dead;
    if (order.size() < nodes) dead = key_dead(labels, inputs, users, number);
    hash.absorb(dead.size());
    for (const Digest& piece : dead) hash.absorb(piece);

    const Digest digest = hash.digest();
    GraphKey key;
    for (std::size_t i = 0; i < 8; ++i) {
        key[i] = static_cast<std::uint8_t>(digest.a >> (8 * i));
        key[8 + i] = static_cast<std::uint8_t>(digest.b >> (8 * i));
    }
    return key;
}

}  // namespace hwnas
