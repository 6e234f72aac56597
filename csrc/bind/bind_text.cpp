// Answer scanners and seeds, for Python backends and the reference loop.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <string_view>

#include "bind/values.h"
#include "text/scanner.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

std::string_view view_of(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

Role role_of_call(const std::string& name) {
  const auto found = std::ranges::find(kCallNames, name);
  if (found != std::end(kCallNames)) return static_cast<Role>(found - kCallNames);
  throw Error(ErrorCode::kBadRequest,
              "[_core.seed_of] kind is '" + name + "': give plan, generate or judge");
}

}  // namespace

void bind_text(nb::module_& m) {
  m.def(
      "seed_of",
      [](std::uint64_t request_seed, const std::string& rule, const std::string& kind, int step,
         int attempt, int retry) {
        return seed_of(request_seed, named<SeedRule>(rule), role_of_call(kind), step, attempt,
                       retry);
      },
      "request_seed"_a, "rule"_a, "kind"_a, "step"_a, "attempt"_a, "retry"_a,
      "The seed of one call (plan, generate, judge), by the rule counter or reference: independent "
      "of the order of calls.");
  nb::class_<PlanScanner>(m, "PlanScanner", "Reads a planner's answer as its bytes arrive.")
      .def(nb::init<int, int>(), "max_steps"_a, "first_number"_a,
           "`first_number`: 1 in narrative mode; 0 in guidance mode (any number may come first).")
      .def(
          "feed", [](PlanScanner& self, const nb::bytes& bytes) { self.feed(view_of(bytes)); },
          "bytes"_a)
      .def(
          "closed", [](const PlanScanner& self) { return Dicts(plain_of(self.closed())); },
          "The steps that have closed so far.")
      .def("done", &PlanScanner::done)
      .def("violation", &PlanScanner::violation)
      .def(
          "finish", [](PlanScanner& self) { return dict_of(self.finish()); },
          "As interleave_rt.wire.WrittenPlan, with its reasoning: the answer has ended, and what "
          "carries no tag is read.");
  nb::class_<VerdictScanner>(m, "VerdictScanner", "Reads a critic's answer as its bytes arrive.")
      .def(nb::init<>())
      .def(
          "feed", [](VerdictScanner& self, const nb::bytes& bytes) { self.feed(view_of(bytes)); },
          "bytes"_a)
      .def("accepted", &VerdictScanner::accepted, "The boolean, as soon as it is complete.")
      .def("boolean_started_at", &VerdictScanner::boolean_started_at)
      .def("done", &VerdictScanner::done)
      .def("violation", &VerdictScanner::violation)
      .def(
          "finish", [](VerdictScanner& self) { return if_readable(self.finish()); },
          "The verdict: the answer has ended, and what carries no tag is read. None: unreadable.");
}

}  // namespace irt
