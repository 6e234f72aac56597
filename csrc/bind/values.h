// The values of the core as Python sees them: names of enums, tables of fields.
#pragma once

#include "bind/fields.h"
#include "core/call.h"
#include "core/request.h"
#include "core/result.h"
#include "engine/driver.h"

namespace irt {

template <>
inline constexpr auto kNames<PlanMode> = std::array{"narrative", "guidance"};
template <>
inline constexpr auto kNames<Keep> = std::array{"last", "best"};
template <>
inline constexpr auto kNames<SeedRule> = std::array{"counter", "reference"};
template <>
inline constexpr auto kNames<SpeculationMode> = std::array{"off", "depth", "auto"};
template <>
inline constexpr auto kNames<Outcome> = std::array{"finished", "failed", "cancelled", "deadline"};
template <>
inline constexpr auto kNames<Role> = std::to_array(kRoleNames);
template <>
inline constexpr auto kNames<SpanOutcome> = std::array{"running", "done", "failed", "cancelled"};
template <>
inline constexpr auto kNames<StopReason> = std::array{
    "none", "end_of_text", "length", "cache_full", "non_finite", "grammar", "early", "cancelled"};
template <>
inline constexpr auto kNames<ErrorCode> = std::to_array(kErrorNames);
template <>
inline constexpr auto kNames<SpeculationReason> = std::to_array(kSpeculationReasonNames);

template <>
struct Fields<PlanStep> {
  using S = PlanStep;
  static constexpr const char* kName = "PlanStep";
  static constexpr auto kRows =
      fields<&S::step_number, &S::step_name, &S::instruction, &S::prompt, &S::auxiliary_text>();
};
template <>
struct Fields<Plan> {
  using S = Plan;
  static constexpr const char* kName = "WrittenPlan";
  static constexpr auto kRows = fields<&S::steps, &S::truncated, &S::violated, &S::reasoning>();
};
// Of a readable verdict; one that is not is None.
template <>
struct Fields<Verdict> {
  using S = Verdict;
  static constexpr const char* kName = "Verdict";
  static constexpr std::array kRows = {
      row<&S::accepted>("previous_step_success"), row<&S::p_success>("p_success"),
      row<&S::refined>("refine_prompt"), row<&S::reasoning>("reasoning")};
};
template <>
struct Fields<Failure> {
  static constexpr auto kRows = fields<&Failure::code, &Failure::message>();
};

// What a caller asks for, with its deadline in seconds from now.
struct Asked {
  RequestSpec spec;
  double timeout_s = 0.0;
};
template <>
struct Fields<Asked> {
  using R = RequestSpec;
  using O = Optimizations;
  static constexpr auto kSpec = &Asked::spec;
  static constexpr const char* kName = "Engine.submit";
  static constexpr auto kRows = join(
      At<kSpec>::fields<&R::text, &R::mode, &R::seed, &R::t_max, &R::max_steps, &R::keep,
                        &R::judge_last, &R::width, &R::height, &R::denoising_steps,
                        &R::references>(),
      At<kSpec, &R::optimizations>::fields<&O::stream_plan, &O::early_verdict, &O::skip_last_judge,
                                           &O::encode_text_ahead, &O::cache_vision>(),
      std::array{row<kSpec, &R::seed_rule>("seeds"),
                 row<kSpec, &R::speculation, &Speculation::mode>("speculation"),
                 row<kSpec, &R::speculation, &Speculation::depth>("depth"),
                 row<&Asked::timeout_s>("timeout_s")});
};

template <>
struct Fields<DriverConfig> {
  using S = DriverConfig;
  using C = SchedulerConfig;
  using P = PolicyConfig;
  static constexpr const char* kName = "EngineConfig";
  static constexpr auto kRows =
      join(At<&S::scheduler>::fields<&C::max_live, &C::max_queued>(),
           At<&S::scheduler, &C::policy>::fields<&P::critic_slowdown, &P::generator_rate>(),
           fields<&S::image_bytes, &S::text_cache, &S::max_unforgotten>(),
           std::array{row<&S::scheduler, &C::lane_grace>("lane_grace_us")});
};

template <>
struct Fields<LaneState> {
  using I = LaneInfo;
  static constexpr auto kRows =
      join(At<&LaneState::info>::fields<&I::role, &I::capacity, &I::device>(),
           fields<&LaneState::up, &LaneState::times_down, &LaneState::why_down>());
};

// Times on the engine's clock.
template <>
struct Fields<Span> {
  using S = Span;
  static constexpr auto kRows = join(
      fields<&S::role, &S::step, &S::attempt, &S::retry, &S::speculative, &S::outcome, &S::used,
             &S::answer, &S::stop>(),
      std::array{row<&S::lane_name>("lane"), row<&S::queued>("queued_us"),
                 row<&S::started>("started_us"), row<&S::ended>("ended_us"),
                 row<&S::cancel>("cancel_us"), Field<S>{"kind", [](const S& self) -> nb::object {
                                                          return nb::str(call_name(self.role));
                                                        }}});
};
template <>
struct Fields<DecisionRecord> {
  using S = DecisionRecord;
  using D = SpeculationDecision;
  static constexpr auto kDecision = &S::decision;
  static constexpr auto kRows =
      join(At<kDecision>::fields<&D::role, &D::step, &D::attempt, &D::reason, &D::p, &D::depth,
                                 &D::beyond, &D::undisturbed, &D::others, &D::critic_slowdown,
                                 &D::generator_rate>(),
           std::array{row<&S::at>("at_us"), row<kDecision, &D::start>("started"),
                      row<kDecision, &D::gain>("gain_us"),
                      row<kDecision, &D::verdict_time>("verdict_us"),
                      row<kDecision, &D::generate_time>("generate_us")});
};

[[nodiscard]] std::optional<Dict> if_readable(const std::optional<Verdict>& verdict);
// {"kind": ..., ...} as interleave_rt.wire has it; the pixels of an attempt_image lie beside it.
[[nodiscard]] Dict dict_of(ReaderEvent&& event);
[[nodiscard]] Dict dict_of(const DriverCounters& counters);

}  // namespace irt
