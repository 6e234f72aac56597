// Scripted roles: their configuration, and the pure functions that the scripted lanes answer with.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>

#include "bind/convert.h"
#include "sim/scripted_lanes.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

template <auto Outer, auto Inner>
void field(nb::class_<ScriptedConfig>& cls, const char* name) {
  using Value = std::remove_cvref_t<decltype((std::declval<ScriptedConfig&>().*Outer).*Inner)>;
  cls.def_prop_rw(
      name, [](const ScriptedConfig& self) { return (self.*Outer).*Inner; },
      [](ScriptedConfig& self, Value value) { (self.*Outer).*Inner = std::move(value); });
}

void bind_config(nb::module_& m) {
  using C = ScriptedConfig;
  nb::class_<C> cls(m, "ScriptedConfig", "Three made-up roles: their answers and their latencies.");
  cls.def(nb::init<>())
      .def_rw("planner_cap", &C::planner_slots)
      .def_rw("generator_cap", &C::generator_slots)
      .def_rw("critic_cap", &C::critic_slots)
      .def_rw("shared", &C::shared, "All lanes on one device.")
      .def_prop_rw(
          "steps", [](const C& self) { return self.script.max_steps; },
          [](C& self, int steps) { self.script.min_steps = self.script.max_steps = steps; },
          "Steps of every plan; min_steps and max_steps for plans of different lengths.");
  field<&C::script, &Script::seed>(cls, "seed");
  field<&C::script, &Script::min_steps>(cls, "min_steps");
  field<&C::script, &Script::max_steps>(cls, "max_steps");
  field<&C::script, &Script::text_only>(cls, "text_only_prob");
  field<&C::script, &Script::unreadable_plan>(cls, "unreadable_plan_prob");
  field<&C::script, &Script::unreadable_verdict>(cls, "unreadable_verdict_prob");
  field<&C::script, &Script::unreadable_refined>(cls, "unreadable_refined_prob");
  field<&C::script, &Script::failing>(cls, "failing_prob");
  field<&C::script, &Script::accept>(cls, "accept_prob");
  field<&C::script, &Script::accept_by_refinement>(cls, "accept_by_refinement");
  field<&C::script, &Script::image_size>(cls, "image_size");
  field<&C::times, &ScriptedTimes::planner_ms>(cls, "planner_ms");
  field<&C::times, &ScriptedTimes::first_step_ms>(cls, "first_step_ms");
  field<&C::times, &ScriptedTimes::generator_ms>(cls, "generator_ms");
  field<&C::times, &ScriptedTimes::denoise_steps>(cls, "denoise_steps");
  field<&C::times, &ScriptedTimes::critic_ms>(cls, "critic_ms");
  field<&C::times, &ScriptedTimes::verdict_ms>(cls, "verdict_ms");
  field<&C::times, &ScriptedTimes::jitter>(cls, "jitter");
  field<&C::times, &ScriptedTimes::slowdown>(cls, "slowdown");
}

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

void bind_scripted(nb::module_& m) {
  bind_config(m);
  using R = ScriptedRoles;
  nb::class_<R>(
      m, "ScriptedRoles",
      "The answers of the scripted lanes as plain functions, for a reference loop. Images "
      "are known by hash_pixels; 0 = no image.")
      .def(nb::init<const ScriptedConfig&>(), "config"_a)
      .def(
          "plan",
          [](const R& self, const std::string& text, PlanMode mode, int max_steps,
             std::uint64_t seed) {
            Plan plan = scripted_plan(self.script(), text, mode, max_steps, seed);
            return nb::typed<nb::tuple, std::vector<PlanStep>, bool>(
                nb::make_tuple(std::move(plan.steps), plan.truncated));
          },
          "text"_a, "mode"_a, "max_steps"_a, "seed"_a,
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
            return scripted_verdict(self.script(), original, used, before_hash, after_hash, seed);
          },
          "original"_a, "used"_a, "before_hash"_a, "after_hash"_a, "seed"_a);
}

}  // namespace irt
