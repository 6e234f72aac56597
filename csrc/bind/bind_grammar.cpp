// Constrained decoding: llguidance by address, and grammars as text.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bind/native_config.h"
#include "models/llguidance.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {

void bind_grammar(nb::module_& m) {
  m.def("llguidance_symbols", &llguidance_symbols,
        "Names of the functions whose addresses load_llguidance wants, in that order.");
  m.def(
      "load_llguidance",
      [](const std::vector<std::uintptr_t>& addresses) { load_llguidance(addresses); },
      "addresses"_a,
      "Takes llguidance's functions and tries them on a grammar with a known answer.");
  m.def("llguidance_version", &llguidance_version, "Empty while it is not loaded.");
}

}  // namespace irt
