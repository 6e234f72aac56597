// Scripted roles: their configuration, and the pure functions that the scripted lanes answer with.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>

#include "bind/convert.h"
#include "bind/engine.h"
#include "bind/values.h"
#include "sim/scripted_lanes.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
template <>
struct Fields<ScriptedConfig> {
  using C = ScriptedConfig;
  using S = Script;
  using T = ScriptedTimes;
  static constexpr const char* kName = "Script";
  static constexpr std::array kRows = {
      row<C, &C::planner_slots>("planner_cap"),
      row<C, &C::generator_slots>("generator_cap"),
      row<C, &C::critic_slots>("critic_cap"),
      row<C, &C::shared>("shared"),
      row<C, &C::script, &S::seed>("seed"),
      row<C, &C::script, &S::min_steps>("min_steps"),
      row<C, &C::script, &S::max_steps>("max_steps"),
      row<C, &C::script, &S::text_only>("text_only_prob"),
      row<C, &C::script, &S::unreadable_plan>("unreadable_plan_prob"),
      row<C, &C::script, &S::unreadable_verdict>("unreadable_verdict_prob"),
      row<C, &C::script, &S::unreadable_refined>("unreadable_refined_prob"),
      row<C, &C::script, &S::failing>("failing_prob"),
      row<C, &C::script, &S::accept>("accept_prob"),
      row<C, &C::times, &T::planner_ms>("planner_ms"),
      row<C, &C::times, &T::first_step_ms>("first_step_ms"),
      row<C, &C::times, &T::generator_ms>("generator_ms"),
      row<C, &C::times, &T::denoise_steps>("denoise_steps"),
      row<C, &C::times, &T::critic_ms>("critic_ms"),
      row<C, &C::times, &T::verdict_ms>("verdict_ms"),
      row<C, &C::times, &T::jitter>("jitter"),
      row<C, &C::times, &T::slowdown>("slowdown")};
};

namespace {

// A copy of the script: later changes of the configuration change no answer.
class ScriptedRoles {
 public:
  explicit ScriptedRoles(const ScriptedConfig& config) : script_(config.script) {
    validate(script_);
  }
  [[nodiscard]] const Script& script() const noexcept { return script_; }

 private:
  Script script_;
};

}  // namespace

void add_scripted(nb::class_<BoundEngine>& cls) {
  cls.def(
      "add_scripted",
      [](BoundEngine& self, const nb::dict& script) {
        const auto config = struct_of<ScriptedConfig>(script);
        const nb::gil_scoped_release unlocked;
        add_scripted_lanes(self.driver(), config);
      },
      "script"_a, nb::sig("def add_scripted(self, script: dict[str, typing.Any]) -> None"),
      "Adds three scripted lanes. They need no text worker.");
}

void bind_scripted(nb::module_& m) {
  using R = ScriptedRoles;
  nb::class_<R>(
      m, "ScriptedRoles",
      "The answers of the scripted lanes as plain functions, for a reference loop. Images "
      "are known by hash_pixels; 0 = no image.")
      .def(
          "__init__",
          [](R* self, const nb::dict& script) { new (self) R(struct_of<ScriptedConfig>(script)); },
          "script"_a, nb::sig("def __init__(self, script: dict[str, typing.Any]) -> None"))
      .def(
          "plan",
          [](const R& self, const std::string& text, const std::string& mode, int max_steps,
             std::uint64_t seed) {
            const Plan plan =
                scripted_plan(self.script(), text, named<PlanMode>(mode), max_steps, seed);
            return nb::make_tuple(plain_of(plan.steps), plan.truncated);
          },
          "text"_a, "mode"_a, "max_steps"_a, "seed"_a,
          nb::sig("def plan(self, text: str, mode: str, max_steps: int, seed: int) -> "
                  "tuple[list[dict[str, typing.Any]], bool]"),
          "(steps, truncated); no steps: the answer is unreadable.")
      .def(
          "generate",
          [](const R& self, const std::string& prompt, std::uint64_t source_hash,
             std::uint64_t seed, int width, int height, int denoising_steps) {
            return array_of(scripted_image(self.script(), prompt, source_hash, seed, width, height,
                                           denoising_steps));
          },
          "prompt"_a, "source_hash"_a, "seed"_a, "width"_a = 0, "height"_a = 0,
          "denoising_steps"_a = 0)
      .def(
          "judge",
          [](const R& self, const std::string& original, const std::string& used,
             std::uint64_t before_hash, std::uint64_t after_hash, std::uint64_t seed) {
            return plain_of_verdict(
                scripted_verdict(self.script(), original, used, before_hash, after_hash, seed));
          },
          "original_prompt"_a, "prompt"_a, "before_hash"_a, "after_hash"_a, "seed"_a,
          nb::sig("def judge(self, original_prompt: str, prompt: str, before_hash: int, "
                  "after_hash: int, seed: int) -> dict[str, typing.Any] | None"),
          "None: the answer is unreadable.");
}

}  // namespace irt
