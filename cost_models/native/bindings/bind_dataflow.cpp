// The accelerator model for hwnas.accelerators.
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.hpp"
#include "hwnas/dataflow.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace hwnas {
namespace {

using Layers =
    nb::ndarray<const std::int32_t, nb::shape<-1, kLayerFields>, nb::c_contig, nb::device::cpu>;
using Points = nb::ndarray<const std::int64_t, nb::shape<-1, 6>, nb::c_contig, nb::device::cpu>;
using Vector = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Energies = nb::ndarray<const double, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using Costs = nb::ndarray<nb::numpy, double, nb::ndim<2>>;
using Parts = nb::ndarray<nb::numpy, std::int64_t, nb::ndim<3>>;

template <class T>
nb::capsule owner_of(T* data) {
    return nb::capsule(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
}

std::vector<Accelerator> accelerators_of(const Points& points, const Vector& dram_bandwidth) {
    const std::size_t n = points.shape(0);
    if (dram_bandwidth.shape(0) != n) {
        throw std::invalid_argument("dram_bandwidth has length " +
                                    std::to_string(dram_bandwidth.shape(0)) + ", expected " +
                                    std::to_string(n));
    }
    std::vector<Accelerator> accelerators(n);
    for (std::size_t h = 0; h < n; ++h) {
        const std::int64_t* row = points.data() + 6 * h;
        if (row[0] < 0 || row[0] > 2) {
            throw std::invalid_argument("accelerator " + std::to_string(h) +
                                        " has no known dataflow");
        }
        accelerators[h] = {static_cast<Dataflow>(row[0]), row[1], row[2], row[3], row[4], row[5],
                           dram_bandwidth.data()[h]};
    }
    return accelerators;
}

std::tuple<Costs, Costs> py_dataflow_costs(Layers layers, Points points, Vector dram_bandwidth,
                                           Energies energies) {
    const std::vector<Accelerator> accelerators = accelerators_of(points, dram_bandwidth);
    const std::size_t l = layers.shape(0), h = accelerators.size();
    if (energies.shape(0) != h) {
        throw std::invalid_argument("energies has " + std::to_string(energies.shape(0)) +
                                    " rows, expected " + std::to_string(h));
    }
    std::vector<AccessEnergy> joules(h);
    for (std::size_t i = 0; i < h; ++i) {
        const double* row = energies.data() + 4 * i;
        joules[i] = {row[0], row[1], row[2], row[3]};
    }
    auto cycles = std::make_unique<double[]>(l * h);
    auto energy_j = std::make_unique<double[]>(l * h);
    {
        nb::gil_scoped_release released;
        dataflow_costs(layers.data(), l, accelerators.data(), joules.data(), h, cycles.get(),
                       energy_j.get());
    }
    nb::capsule first = owner_of(cycles.get()), second = owner_of(energy_j.get());
    return {Costs(cycles.release(), {l, h}, first), Costs(energy_j.release(), {l, h}, second)};
}

Parts py_dataflow_parts(Layers layers, Points points, Vector dram_bandwidth) {
    const std::vector<Accelerator> accelerators = accelerators_of(points, dram_bandwidth);
    const std::size_t l = layers.shape(0), h = accelerators.size();
    auto parts = std::make_unique<std::int64_t[]>(l * h * kLayerParts);
    {
        nb::gil_scoped_release released;
        dataflow_parts(layers.data(), l, accelerators.data(), h, parts.get());
    }
    nb::capsule owner = owner_of(parts.get());
    return Parts(parts.release(), {l, h, kLayerParts}, owner);
}

}  // namespace

void bind_dataflow(nb::module_& module) {
    module.def(
        "dataflow_costs", &py_dataflow_costs, "layers"_a.noconvert(), "points"_a.noconvert(),
        "dram_bandwidth"_a.noconvert(), "energies"_a.noconvert(),
        R"(Cycles and energy of layers on accelerators, (l, h) each; infinite where impossible.

Args:
    layers: (l, 10): kind (0 dense, 1 depthwise, 2 streaming), groups, K, C, R, S, OY, OX, strides
        along y and x.
    points: (h, 6): dataflow (0 weight-, 1 output-, 2 row-stationary), PEs, elements per cycle, hop
        latency in cycles, bytes of a PE's buffer and of the shared one (0: as large as needed).
    dram_bandwidth: (h,) in bytes per cycle; 0: never waited for.
    energies: (h, 4) in J: a multiply-accumulate, and moving a byte at a PE's buffer, at the shared
        one and at DRAM.

Raises:
    ValueError: A size or a code is out of range; the row is named.)");
    module.def(
        "dataflow_parts", &py_dataflow_parts, "layers"_a.noconvert(), "points"_a.noconvert(),
        "dram_bandwidth"_a.noconvert(),
        R"(What the costs consist of, (l, h, 10); -1 throughout where a layer cannot be mapped.

In order: cycles without DRAM, multiply-accumulates, reads of inputs and of weights from the shared
buffer, results written to it, accesses of the PEs' buffers and of the shared one in bytes, bytes
that double buffering needs of either, bytes to and from DRAM. Arguments as of `dataflow_costs`.)");
}

}  // namespace hwnas
