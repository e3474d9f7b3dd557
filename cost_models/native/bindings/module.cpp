// The Python extension hwnas._core. Bindings convert arguments, release the GIL and call the
// library; they hold no logic.
#include "bindings.hpp"

NB_MODULE(_core, module) {
    module.doc() = "Native engine of hwnas: costing, encoding and selection on whole populations.";
    // Objects that a program keeps until it ends are no fault of it.
    nanobind::set_leak_warnings(false);
    hwnas::bind_costing(module);
    hwnas::bind_dataflow(module);
    hwnas::bind_graph_family(module);
    hwnas::bind_encoding(module);
    hwnas::bind_schedule(module);
    hwnas::bind_search(module);
    hwnas::bind_watch(module);
}
