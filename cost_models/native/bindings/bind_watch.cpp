// Times of calls inside TVM, for hwnas.tvm_worker.
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "hwnas/call_watch.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace hwnas {
namespace {

using Times = nb::ndarray<nb::numpy, std::int64_t, nb::shape<-1, 4>>;

std::uintptr_t watch_address() { return reinterpret_cast<std::uintptr_t>(&watch_call); }

std::tuple<std::vector<std::string>, Times> take(std::uintptr_t watch) {
    CallTimes taken = take_call_times(reinterpret_cast<void*>(watch));
    const std::size_t n = taken.calls.size();
    auto data = std::make_unique<std::int64_t[]>(4 * n);
    for (std::size_t i = 0; i < n; ++i) {
        const CallTime& call = taken.calls[i];
        const std::int64_t row[] = {call.function, call.arguments, call.cpu_ns, call.wall_ns};
        std::copy(row, row + 4, data.get() + 4 * i);
    }
    nb::capsule owner(data.get(),
                      [](void* p) noexcept { delete[] static_cast<std::int64_t*>(p); });
    return {std::move(taken.names), Times(data.release(), {n, 4}, owner)};
}

}  // namespace

void bind_watch(nb::module_& module) {
    module.def("watch_address", &watch_address,
               "Address of a function, in tvm-ffi's calling convention, that times the calls of a "
               "virtual machine whose instrument it is.");
    module.def("take_call_times", &take, "watch"_a,
               "What this thread has timed for a watch since the last take: names of functions, "
               "and for each call, in the order in which they ended, the place of its name, its "
               "arguments, thread CPU time and wall time in ns, (n, 4).");
}

}  // namespace hwnas
