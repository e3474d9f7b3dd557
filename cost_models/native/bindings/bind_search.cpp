// Selection and variation for hwnas.search: see the headers for what each routine promises.
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "hwnas/dominance.hpp"
#include "hwnas/hypervolume.hpp"
#include "hwnas/row_set.hpp"
#include "hwnas/variation.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace hwnas {
namespace {

template <class T>
using In1 = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using In2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out1 = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
template <class T>
using Out2 = nb::ndarray<nb::numpy, T, nb::ndim<2>>;
using Words = nb::ndarray<const std::uint64_t, nb::shape<4>, nb::c_contig, nb::device::cpu>;

template <class T>
Out1<T> vector_of(std::unique_ptr<T[]> data, std::size_t n) {
    nb::capsule owner(data.get(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return Out1<T>(data.release(), {n}, owner);
}

template <class T>
Out1<T> vector_of(const std::vector<T>& values) {
    auto data = std::make_unique<T[]>(values.size());
    std::copy(values.begin(), values.end(), data.get());
    return vector_of(std::move(data), values.size());
}

Out2<std::uint8_t> matrix_of(std::unique_ptr<std::uint8_t[]> data, std::size_t n, std::size_t d) {
    nb::capsule owner(data.get(),
                      [](void* p) noexcept { delete[] static_cast<std::uint8_t*>(p); });
    return Out2<std::uint8_t>(data.release(), {n, d}, owner);
}

void require(bool ok, const std::string& message) {
    if (!ok) {
        throw std::invalid_argument(message);
    }
}

void require_length(std::size_t found, std::size_t wanted, const char* name) {
    require(found == wanted, std::string(name) + " has length " + std::to_string(found) +
                                 ", expected " + std::to_string(wanted));
}

const double* violation_of(const std::optional<In1<double>>& violation, std::size_t n) {
    if (!violation) {
        return nullptr;
    }
    require_length(violation->shape(0), n, "violation");
    return violation->data();
}

Out1<std::int32_t> py_non_dominated_sort(In2<double> objectives,
                                         std::optional<In1<double>> violation) {
    const std::size_t n = objectives.shape(0);
    const double* excess = violation_of(violation, n);
    auto ranks = std::make_unique<std::int32_t[]>(n);
    {
        nb::gil_scoped_release release;
        non_dominated_sort(objectives.data(), excess, n, objectives.shape(1), ranks.get());
    }
    return vector_of(std::move(ranks), n);
}

Out1<double> py_crowding_distance(In2<double> objectives, In1<std::int32_t> ranks) {
    const std::size_t n = objectives.shape(0);
    require_length(ranks.shape(0), n, "ranks");
    auto distance = std::make_unique<double[]>(n);
    {
        nb::gil_scoped_release release;
        crowding_distance(objectives.data(), ranks.data(), n, objectives.shape(1), distance.get());
    }
    return vector_of(std::move(distance), n);
}

std::tuple<Out1<std::int32_t>, Out1<std::int32_t>, Out1<double>> py_nsga2_survive(
    In2<double> objectives, std::optional<In1<double>> violation, std::size_t keep) {
    const std::size_t n = objectives.shape(0);
    const double* excess = violation_of(violation, n);
    Survivors survivors;
    {
        nb::gil_scoped_release release;
        survivors = nsga2_survive(objectives.data(), excess, n, objectives.shape(1), keep);
    }
    return {vector_of(survivors.indices), vector_of(survivors.ranks),
            vector_of(survivors.crowding)};
}

double py_hypervolume(In2<double> points, In1<double> reference) {
    require_length(reference.shape(0), points.shape(1), "reference");
    nb::gil_scoped_release release;
    return hypervolume(points.data(), points.shape(0), points.shape(1), reference.data());
}

Out2<std::uint8_t> py_vary(In2<std::uint8_t> population, In1<std::int32_t> ranks,
                           In1<double> crowding, In1<std::uint8_t> option_counts, Words words,
                           std::size_t count, double crossover_probability,
                           double mutation_probability, const std::string& crossover) {
    const std::size_t n = population.shape(0);
    const std::size_t d = population.shape(1);
    require_length(ranks.shape(0), n, "ranks");
    require_length(crowding.shape(0), n, "crowding");
    require_length(option_counts.shape(0), d, "option_counts");
    require(crossover == "uniform" || crossover == "two-point",
            "unknown crossover '" + crossover + "'; available: uniform, two-point");
    Variation variation;
    variation.crossover = crossover == "uniform" ? Crossover::kUniform : Crossover::kTwoPoint;
    variation.crossover_probability = crossover_probability;
    variation.mutation_probability = mutation_probability;
    std::array<std::uint64_t, 4> seed;
    std::copy(words.data(), words.data() + 4, seed.begin());
    auto children = std::make_unique<std::uint8_t[]>(count * d);
    {
        nb::gil_scoped_release release;
        vary(population.data(), ranks.data(), crowding.data(), n, d, option_counts.data(), seed,
             variation, count, children.get());
    }
    return matrix_of(std::move(children), count, d);
}

// The set is mutable, so its methods keep the GIL: it is what makes them safe to call from
// threads.

Out1<bool> py_insert(RowSet& set, In2<std::uint8_t> rows) {
    require_length(rows.shape(1), set.width(), "a row");
    const std::size_t n = rows.shape(0);
    auto fresh = std::make_unique<bool[]>(n);
    set.insert(rows.data(), n, n, [&fresh](std::size_t i, bool added) { fresh[i] = added; });
    return vector_of(std::move(fresh), n);
}

Out2<std::uint8_t> py_take_new(RowSet& set, In2<std::uint8_t> rows, std::size_t limit) {
    const std::size_t width = set.width();
    require_length(rows.shape(1), width, "a row");
    const std::size_t n = rows.shape(0);
    auto taken = std::make_unique<std::uint8_t[]>(std::min(n, limit) * width);
    std::size_t count = 0;
    set.insert(rows.data(), n, limit, [&](std::size_t i, bool added) {
        if (added) {
            const std::uint8_t* row = rows.data() + i * width;
            std::copy(row, row + width, taken.get() + count * width);
            ++count;
        }
    });
    return matrix_of(std::move(taken), count, width);
}

Out1<std::int64_t> py_find(const RowSet& set, In2<std::uint8_t> rows) {
    require_length(rows.shape(1), set.width(), "a row");
    const std::size_t n = rows.shape(0);
    auto indices = std::make_unique<std::int64_t[]>(n);
    for (std::size_t i = 0; i < n; ++i) {
        indices[i] = set.find(rows.data() + i * set.width());
    }
    return vector_of(std::move(indices), n);
}

Out2<std::uint8_t> py_rows(const RowSet& set) {
    const std::size_t bytes = set.size() * set.width();
    auto copy = std::make_unique<std::uint8_t[]>(bytes);
    std::copy(set.data(), set.data() + bytes, copy.get());
    return matrix_of(std::move(copy), set.size(), set.width());
}

}  // namespace

void bind_search(nb::module_& module) {
    module.def("non_dominated_sort", &py_non_dominated_sort, "objectives"_a.noconvert(),
               "violation"_a.noconvert() = nb::none(),
               "Ranks (n,) from 0 of the rows of objectives (n, m), all minimised; feasible rows "
               "(violation <= 0) first, infeasible ones by violation alone, NaN last.");
    module.def("crowding_distance", &py_crowding_distance, "objectives"_a.noconvert(),
               "ranks"_a.noconvert(),
               "Crowding distance (n,) of each row within the rows of its own rank.");
    module.def("nsga2_survive", &py_nsga2_survive, "objectives"_a.noconvert(),
               "violation"_a.noconvert().none(), "keep"_a,
               "Indices, ranks and crowding (k,) of the best k = min(keep, n) rows, best first.");
    module.def("hypervolume", &py_hypervolume, "points"_a.noconvert(), "reference"_a.noconvert(),
               "Exact volume that points (n, m) dominate below reference (m,), all minimised.");
    module.def("vary", &py_vary, "population"_a.noconvert(), "ranks"_a.noconvert(),
               "crowding"_a.noconvert(), "option_counts"_a.noconvert(), "words"_a.noconvert(),
               "count"_a, "crossover_probability"_a, "mutation_probability"_a,
               "crossover"_a = "two-point",
               "Children (count, d) by binary tournament, crossover and mutation; words (4,) are "
               "the only source of chance.");
    nb::class_<RowSet>(module, "RowSet",
                       "A set of uint8 rows of one width that remembers their order.")
        .def(nb::init<std::size_t>(), "width"_a)
        .def("insert", &py_insert, "rows"_a.noconvert(),
             "Adds the rows (n, width); True (n,) where a row was not there before.")
        .def("take_new", &py_take_new, "rows"_a.noconvert(), "limit"_a,
             "Adds rows in order until `limit` of them were new; a copy (k, width) of those.")
        .def("find", &py_find, "rows"_a.noconvert(),
             "Position (n,) of each row in the order of arrival, -1 where it is not there.")
        .def("rows", &py_rows, "A copy of all rows (k, width) in the order of arrival.")
        .def("__len__", &RowSet::size)
        .def_prop_ro("width", &RowSet::width, "Bytes in a row.");
}

}  // namespace hwnas
