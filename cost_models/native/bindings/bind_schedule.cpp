// Schedules of networks on chips for hwnas.cosearch: see hwnas/schedule.hpp for what is promised.
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>

#include "bindings.hpp"
#include "hwnas/schedule.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace hwnas {
namespace {

template <class T, int N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<N>>;

constexpr std::size_t kMostLabels = 10'000'000;
constexpr std::size_t kMostThreads = 1024;

template <class T, int N>
Out<T, N> array_of(std::unique_ptr<T[]> data, const std::size_t (&shape)[N]) {
    nb::capsule owner(data.get(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return Out<T, N>(data.release(), N, shape, owner);
}

std::tuple<Out<std::int8_t, 3>, Out<double, 3>, Out<double, 1>, Out<double, 1>, Out<double, 1>,
           Out<double, 1>>
py_schedule(In<double, 2> cycles, In<double, 2> energy, In<std::int32_t, 3> layers,
            In<std::int32_t, 2> points, double limit, std::size_t exact_labels,
            std::size_t threads) {
    const std::size_t n = layers.shape(0);
    const auto require = [](bool ok, const std::string& message) {
        if (!ok) {
            throw std::invalid_argument("schedule: " + message);
        }
    };
    require(energy.shape(0) == cycles.shape(0) && energy.shape(1) == cycles.shape(1),
            "cycles and energy have different shapes");
    require(points.shape(0) == n, "points have " + std::to_string(points.shape(0)) +
                                      " rows, layers " + std::to_string(n));
    require(exact_labels <= kMostLabels, "at most 10,000,000 exact_labels");
    require(threads >= 1 && threads <= kMostThreads, "threads must be from 1 to 1024");
    const std::size_t networks = layers.shape(1);
    const std::size_t length = layers.shape(2);
    auto assignment = std::make_unique<std::int8_t[]>(n * networks * length);
    auto start = std::make_unique<double[]>(n * networks * length);
    auto makespan = std::make_unique<double[]>(n);
    auto total = std::make_unique<double[]>(n);
    auto makespan_bound = std::make_unique<double[]>(n);
    auto energy_bound = std::make_unique<double[]>(n);
    {
        nb::gil_scoped_release release;
        ScheduleOptions options;
        options.limit = limit;
        options.exact_labels = exact_labels;
        options.threads = threads;
        schedule({cycles.data(), energy.data(), cycles.shape(0), cycles.shape(1)},
                 {layers.data(), points.data(), n, networks, length, points.shape(1)}, options,
                 {assignment.get(), start.get(), makespan.get(), total.get(), makespan_bound.get(),
                  energy_bound.get()});
    }
    return {array_of(std::move(assignment), {n, networks, length}),
            array_of(std::move(start), {n, networks, length}),
            array_of(std::move(makespan), {n}),
            array_of(std::move(total), {n}),
            array_of(std::move(makespan_bound), {n}),
            array_of(std::move(energy_bound), {n})};
}

}  // namespace

void bind_schedule(nb::module_& module) {
    module.def("schedule", &py_schedule, "cycles"_a.noconvert(), "energy"_a.noconvert(),
               "layers"_a.noconvert(), "points"_a.noconvert(), "limit"_a, "exact_labels"_a = 0,
               "threads"_a = 1,
               "Least energy within a limit on the makespan, else least makespan, of networks "
               "(n, networks, length) of rows of the costs (u, h) on chips (n, subs) of columns; "
               "negative: none. Assignment and start (n, networks, length), makespan, energy, and "
               "lower bounds of both (n,).");
}

}  // namespace hwnas
