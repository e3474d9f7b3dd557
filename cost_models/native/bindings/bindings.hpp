// What each binding file contributes to the module hwnas._core.
#pragma once

#include <nanobind/nanobind.h>

namespace hwnas {

void bind_costing(nanobind::module_& module);
void bind_dataflow(nanobind::module_& module);
void bind_encoding(nanobind::module_& module);
void bind_graph_family(nanobind::module_& module);
void bind_schedule(nanobind::module_& module);
void bind_search(nanobind::module_& module);
void bind_watch(nanobind::module_& module);

}  // namespace hwnas
