// The extension module lowp._cuda: lowp::cuda for whoever has pointers. No array library is needed to
// build it; lowp._device brings the arrays of those that there are into this form.
#include "common.hpp"

PYBIND11_MODULE(_cuda, m) {
    namespace python = lowp::python;
    m.doc() = "lowp::cuda by pointers: what lowp._device calls. Nothing here looks at memory.";
    python::bind_both(m);
    python::bind_plans(m);
    python::bind_products(m);
    python::bind_statistics(m);
}
