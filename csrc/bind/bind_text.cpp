// The answer scanners, for Python backends and the reference loop.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string_view>

#include "text/scanner.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

std::string_view view_of(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

}  // namespace

void bind_text(nb::module_& m) {
  nb::class_<PlanScanner>(m, "PlanScanner", "Reads a planner's answer as its bytes arrive.")
      .def(nb::init<int, int>(), "max_steps"_a, "first_number"_a,
           "`first_number`: 1 in narrative mode; 0 in guidance mode (any number may come first).")
      .def(
          "feed", [](PlanScanner& self, const nb::bytes& bytes) { self.feed(view_of(bytes)); },
          "bytes"_a)
      .def(
          "closed", [](const PlanScanner& self) { return self.closed(); },
          "The steps that have closed so far.")
      .def("done", &PlanScanner::done)
      .def("violation", &PlanScanner::violation)
      .def(
          "finish",
          [](const PlanScanner& self) {
            Plan plan = self.finish();
            return nb::typed<nb::tuple, std::vector<PlanStep>, bool, nb::str>(
                nb::make_tuple(std::move(plan.steps), plan.truncated, plan.reasoning));
          },
          "(steps, truncated, reasoning) if the answer ended here.");
  nb::class_<VerdictScanner>(m, "VerdictScanner", "Reads a critic's answer as its bytes arrive.")
      .def(nb::init<>())
      .def(
          "feed", [](VerdictScanner& self, const nb::bytes& bytes) { self.feed(view_of(bytes)); },
          "bytes"_a)
      .def("accepted", &VerdictScanner::accepted, "The boolean, as soon as it is complete.")
      .def("boolean_started_at", &VerdictScanner::boolean_started_at)
      .def("done", &VerdictScanner::done)
      .def("violation", &VerdictScanner::violation)
      .def("finish", &VerdictScanner::finish, "The verdict if the answer ended here.");
}

}  // namespace irt
