// Value types: what a request says and what comes back, seeds.
#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 takes nanobind's argument casters for uninitialised at -O3.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "bind/bound_spec.h"
#include "bind/convert.h"
#include "core/call.h"
#include "core/error.h"
#include "core/result.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

void bind_enums(nb::module_& m) {
  nb::enum_<PlanMode>(m, "PlanMode")
      .value("narrative", PlanMode::kNarrative)
      .value("guidance", PlanMode::kGuidance);
  nb::enum_<Keep>(m, "Keep").value("last", Keep::kLast).value("best", Keep::kBest);
  nb::enum_<SeedRule>(m, "SeedRule")
      .value("counter", SeedRule::kCounter)
      .value("reference", SeedRule::kReference);
  nb::enum_<SpeculationMode>(m, "SpeculationMode")
      .value("off", SpeculationMode::kOff)
      .value("depth", SpeculationMode::kDepth)
      .value("auto", SpeculationMode::kAuto);
  nb::enum_<Outcome>(m, "Outcome")
      .value("finished", Outcome::kFinished)
      .value("failed", Outcome::kFailed)
      .value("cancelled", Outcome::kCancelled)
      .value("deadline", Outcome::kDeadline);
  nb::enum_<ErrorCode> codes(m, "ErrorCode", "The codes of CoreError, by name.");
  for (const auto& [code, name] : kErrorCodes) codes.value(name, code);
}

// A Python attribute that stands for a field of a member.
template <auto Outer, auto Inner>
void field(nb::class_<BoundSpec>& cls, const char* name) {
  using Value = std::remove_cvref_t<decltype((std::declval<BoundSpec&>().*Outer).*Inner)>;
  cls.def_prop_rw(
      name, [](const BoundSpec& self) { return (self.*Outer).*Inner; },
      [](BoundSpec& self, Value value) { (self.*Outer).*Inner = value; });
}

void bind_request(nb::module_& m) {
  using S = BoundSpec;
  nb::class_<S> cls(m, "RequestSpec", "What a caller asks for; images are keys of put_image.");
  cls.def(nb::init<>())
      .def_rw("text", &S::text)
      .def_prop_rw(
          "images",
          [](const S& self) {
            std::vector<std::string> keys;
            for (const Key& key : self.images) keys.push_back(to_hex(key));
            return keys;
          },
          [](S& self, const std::vector<std::string>& keys) {
            std::vector<Key> images;
            for (const std::string& key : keys) images.push_back(key_of_hex(key));
            self.images = std::move(images);
          })
      .def_rw("mode", &S::mode)
      .def_rw("seed", &S::seed)
      .def_rw("seed_rule", &S::seed_rule)
      .def_rw("t_max", &S::t_max)
      .def_rw("max_steps", &S::max_steps)
      .def_rw("keep", &S::keep)
      .def_rw("judge_last", &S::judge_last)
      .def_rw("width", &S::width)
      .def_rw("height", &S::height)
      .def_rw("denoising_steps", &S::denoising_steps)
      .def_rw("timeout_s", &S::timeout_s, "Seconds from the submission on; 0 = no deadline.");
  field<&S::speculation, &Speculation::mode>(cls, "speculation_mode");
  field<&S::speculation, &Speculation::depth>(cls, "speculation_depth");
  field<&S::optimizations, &Optimizations::stream_plan>(cls, "stream_plan");
  field<&S::optimizations, &Optimizations::early_verdict>(cls, "early_verdict");
  field<&S::optimizations, &Optimizations::skip_last_judge>(cls, "skip_last_judge");
  field<&S::optimizations, &Optimizations::encode_text_ahead>(cls, "encode_text_ahead");
  field<&S::optimizations, &Optimizations::cache_vision>(cls, "cache_vision");
}

void bind_results(nb::module_& m) {
  nb::class_<PlanStep>(m, "PlanStep", "One step as the planner wrote it.")
      .def(nb::init<>())
      .def_rw("step_number", &PlanStep::step_number)
      .def_rw("step_name", &PlanStep::step_name)
      .def_rw("instruction", &PlanStep::instruction)
      .def_rw("prompt", &PlanStep::prompt)
      .def_rw("auxiliary_text", &PlanStep::auxiliary_text);
  nb::class_<Verdict>(m, "Verdict", "What the critic said of one image.")
      .def(nb::init<>())
      .def_rw("readable", &Verdict::readable)
      .def_rw("accepted", &Verdict::accepted)
      .def_rw("p_success", &Verdict::p_success)
      .def_rw("refined", &Verdict::refined)
      .def_rw("reasoning", &Verdict::reasoning);
  nb::class_<Attempt>(m, "Attempt", "One generation of a step; `image` is its key.")
      .def(nb::init<>())
      .def_rw("number", &Attempt::number)
      .def_rw("prompt", &Attempt::prompt)
      .def_rw("seed", &Attempt::seed)
      .def_prop_ro("image", [](const Attempt& self) { return to_hex(self.image.key); })
      .def_prop_ro("image_hash", [](const Attempt& self) { return self.image.hash; })
      .def_rw("verdict", &Attempt::verdict)
      .def_rw("refused_unreadable", &Attempt::refused_unreadable);
  nb::class_<StepResult>(m, "StepResult", "One committed step; `image` is the final image's key.")
      .def(nb::init<>())
      .def_rw("plan", &StepResult::plan)
      .def_rw("attempts", &StepResult::attempts)
      .def_prop_ro("image",
                   [](const StepResult& self) -> std::optional<std::string> {
                     if (!self.image) return std::nullopt;
                     return to_hex(*self.image);
                   })
      .def_rw("accepted", &StepResult::accepted);
}

Role role_of_call(const std::string& name) {
  for (const Role role : {Role::kPlanner, Role::kGenerator, Role::kCritic}) {
    if (name == call_name(role)) return role;
  }
  throw Error(ErrorCode::kBadRequest,
              "[_core.seed_of] kind is '" + name + "': give plan, generate or judge");
}

}  // namespace

void bind_core(nb::module_& m) {
  bind_enums(m);
  bind_request(m);
  bind_results(m);
  m.def(
      "seed_of",
      [](std::uint64_t request_seed, SeedRule rule, const std::string& kind, int step, int attempt,
         int retry) {
        return seed_of(request_seed, rule, role_of_call(kind), step, attempt, retry);
      },
      "request_seed"_a, "rule"_a, "kind"_a, "step"_a, "attempt"_a, "retry"_a,
      "The seed of one call: counter-based, independent of the order of calls.");
}

}  // namespace irt
