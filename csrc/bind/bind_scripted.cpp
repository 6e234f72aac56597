// Scripted roles: their configuration, and the pure functions that the scripted lanes answer with.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

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
  static constexpr auto kRows = join(
      fields<&C::shared>(), At<&C::script>::fields<&S::seed, &S::min_steps, &S::max_steps>(),
      At<&C::times>::fields<&T::planner_ms, &T::first_step_ms, &T::generator_ms, &T::denoise_steps,
                            &T::critic_ms, &T::verdict_ms, &T::jitter, &T::slowdown>(),
      std::array{row<&C::planner_slots>("planner_cap"), row<&C::generator_slots>("generator_cap"),
                 row<&C::critic_slots>("critic_cap"),
                 row<&C::script, &S::text_only>("text_only_prob"),
                 row<&C::script, &S::unreadable_plan>("unreadable_plan_prob"),
                 row<&C::script, &S::violated_plan>("violated_plan_prob"),
                 row<&C::script, &S::unreadable_verdict>("unreadable_verdict_prob"),
                 row<&C::script, &S::unreadable_refined>("unreadable_refined_prob"),
                 row<&C::script, &S::failing>("failing_prob"),
                 row<&C::script, &S::accept>("accept_prob")});
};

void add_scripted(nb::class_<BoundEngine>& cls) {
  cls.def(
      "add_scripted",
      [](BoundEngine& self, const Dict& script) {
        const auto config = struct_of<ScriptedConfig>(script);
        unlocked([&] { return add_scripted_lanes(self.driver(), config); });
      },
      "script"_a, "Adds three scripted lanes. They need no text worker.");
}

void bind_scripted(nb::module_& m) {
  nb::class_<Script>(
      m, "ScriptedRoles",
      "The answers of the scripted lanes as plain functions, for a reference loop. Images "
      "are known by hash_pixels; 0 = no image.")
      .def(
          "__init__",
          [](Script* self, const Dict& config) {
            const auto script = struct_of<ScriptedConfig>(config).script;
            validate(script);
            new (self) Script(script);
          },
          "script"_a)
      .def(
          "plan",
          [](const Script& self, const std::string& text, const std::string& mode, int max_steps,
             std::uint64_t seed) {
            return dict_of(scripted_plan(self, text, named<PlanMode>(mode), max_steps, seed));
          },
          "text"_a, "mode"_a, "max_steps"_a, "seed"_a, "As interleave_rt.wire.WrittenPlan.")
      .def(
          "generate",
          [](const Script& self, const std::string& prompt, std::uint64_t source_hash,
             std::uint64_t seed, int width, int height, int denoising_steps) {
            return array_of(
                scripted_image(self, prompt, source_hash, seed, width, height, denoising_steps));
          },
          "prompt"_a, "source_hash"_a, "seed"_a, "width"_a = 0, "height"_a = 0,
          "denoising_steps"_a = 0)
      .def(
          "judge",
          [](const Script& self, const std::string& original, const std::string& used,
             std::uint64_t before_hash, std::uint64_t after_hash, std::uint64_t seed) {
            return if_readable(
                scripted_verdict(self, original, used, before_hash, after_hash, seed));
          },
          "original_prompt"_a, "prompt"_a, "before_hash"_a, "after_hash"_a, "seed"_a,
          "None: the answer is unreadable.");
}

}  // namespace irt
