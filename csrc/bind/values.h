// The values of the core as Python sees them: names of enums, tables of fields.
#pragma once

#include "bind/fields.h"
#include "core/call.h"
#include "core/request.h"
#include "core/result.h"
#include "engine/driver.h"

namespace irt {

template <>
struct Names<PlanMode> {
  static constexpr std::array kRows = {std::pair{"narrative", PlanMode::kNarrative},
                                       std::pair{"guidance", PlanMode::kGuidance}};
};
template <>
struct Names<Keep> {
  static constexpr std::array kRows = {std::pair{"last", Keep::kLast},
                                       std::pair{"best", Keep::kBest}};
};
template <>
struct Names<SeedRule> {
  static constexpr std::array kRows = {std::pair{"counter", SeedRule::kCounter},
                                       std::pair{"reference", SeedRule::kReference}};
};
template <>
struct Names<SpeculationMode> {
  static constexpr std::array kRows = {std::pair{"off", SpeculationMode::kOff},
                                       std::pair{"depth", SpeculationMode::kDepth},
                                       std::pair{"auto", SpeculationMode::kAuto}};
};
template <>
struct Names<Outcome> {
  static constexpr std::array kRows = {
      std::pair{"finished", Outcome::kFinished}, std::pair{"failed", Outcome::kFailed},
      std::pair{"cancelled", Outcome::kCancelled}, std::pair{"deadline", Outcome::kDeadline}};
};
template <>
struct Names<Role> {
  static constexpr std::array kRows = {std::pair{"planner", Role::kPlanner},
                                       std::pair{"generator", Role::kGenerator},
                                       std::pair{"critic", Role::kCritic}};
};
template <>
struct Names<SpanOutcome> {
  static constexpr std::array kRows = {
      std::pair{"running", SpanOutcome::kRunning}, std::pair{"done", SpanOutcome::kDone},
      std::pair{"failed", SpanOutcome::kFailed}, std::pair{"cancelled", SpanOutcome::kCancelled}};
};
template <>
struct Names<ErrorCode> {
  static constexpr auto kRows = [] {
    std::array<std::pair<const char*, ErrorCode>, std::size(kErrorCodes)> rows;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      rows[i] = {kErrorCodes[i].name, kErrorCodes[i].code};
    }
    return rows;
  }();
};

template <>
struct Fields<PlanStep> {
  using S = PlanStep;
  static constexpr const char* kName = "PlanStep";
  static constexpr std::array kRows = {
      row<S, &S::step_number>("step_number"), row<S, &S::step_name>("step_name"),
      row<S, &S::instruction>("instruction"), row<S, &S::prompt>("prompt"),
      row<S, &S::auxiliary_text>("auxiliary_text")};
};
// Of a readable verdict; one that is not is None.
template <>
struct Fields<Verdict> {
  using S = Verdict;
  static constexpr const char* kName = "Verdict";
  static constexpr std::array kRows = {
      row<S, &S::accepted>("previous_step_success"), row<S, &S::p_success>("p_success"),
      row<S, &S::refined>("refine_prompt"), row<S, &S::reasoning>("reasoning")};
};

// What a caller asks for, with its deadline in seconds from now.
struct Asked {
  RequestSpec spec;
  double timeout_s = 0.0;
};
template <>
struct Fields<Asked> {
  using S = Asked;
  using R = RequestSpec;
  static constexpr const char* kName = "Engine.submit";
  static constexpr std::array kRows = {
      row<S, &S::spec, &R::text>("text"),
      row<S, &S::spec, &R::mode>("mode"),
      row<S, &S::spec, &R::seed>("seed"),
      row<S, &S::spec, &R::seed_rule>("seeds"),
      row<S, &S::spec, &R::t_max>("t_max"),
      row<S, &S::spec, &R::max_steps>("max_steps"),
      row<S, &S::spec, &R::keep>("keep"),
      row<S, &S::spec, &R::judge_last>("judge_last"),
      row<S, &S::spec, &R::speculation, &Speculation::mode>("speculation"),
      row<S, &S::spec, &R::speculation, &Speculation::depth>("depth"),
      row<S, &S::spec, &R::optimizations, &Optimizations::stream_plan>("stream_plan"),
      row<S, &S::spec, &R::optimizations, &Optimizations::early_verdict>("early_verdict"),
      row<S, &S::spec, &R::optimizations, &Optimizations::skip_last_judge>("skip_last_judge"),
      row<S, &S::spec, &R::optimizations, &Optimizations::encode_text_ahead>("encode_text_ahead"),
      row<S, &S::spec, &R::optimizations, &Optimizations::cache_vision>("cache_vision"),
      row<S, &S::spec, &R::width>("width"),
      row<S, &S::spec, &R::height>("height"),
      row<S, &S::spec, &R::denoising_steps>("denoising_steps"),
      row<S, &S::timeout_s>("timeout_s")};
};

template <>
struct Fields<DriverConfig> {
  using S = DriverConfig;
  using C = SchedulerConfig;
  using P = PolicyConfig;
  static constexpr const char* kName = "EngineConfig";
  static constexpr std::array kRows = {
      row<S, &S::scheduler, &C::max_live>("max_live"),
      row<S, &S::scheduler, &C::max_queued>("max_queued"),
      row<S, &S::scheduler, &C::lane_grace>("lane_grace_us"),
      row<S, &S::scheduler, &C::policy, &P::critic_slowdown>("critic_slowdown"),
      row<S, &S::scheduler, &C::policy, &P::generator_rate>("generator_rate"),
      row<S, &S::image_bytes>("image_bytes"),
      row<S, &S::text_cache>("text_cache"),
      row<S, &S::max_unforgotten>("max_unforgotten")};
};

template <>
struct Fields<LaneInfo> {
  using S = LaneInfo;
  static constexpr const char* kName = "LaneInfo";
  static constexpr std::array kRows = {row<S, &S::role>("role"), row<S, &S::capacity>("capacity"),
                                       row<S, &S::device>("device")};
};

// Times on the engine's clock.
template <>
struct Fields<Span> {
  using S = Span;
  static constexpr const char* kName = "Span";
  static constexpr std::array kRows = {
      row<S, &S::lane_name>("lane"),
      row<S, &S::role>("role"),
      Field<S>{"kind", [](const S& self) -> nb::object { return nb::str(call_name(self.role)); }},
      row<S, &S::step>("step"),
      row<S, &S::attempt>("attempt"),
      row<S, &S::retry>("retry"),
      row<S, &S::speculative>("speculative"),
      row<S, &S::queued>("queued_us"),
      row<S, &S::started>("started_us"),
      row<S, &S::ended>("ended_us"),
      row<S, &S::outcome>("outcome"),
      row<S, &S::used>("used"),
      row<S, &S::cancel>("cancel_us")};
};
template <>
struct Fields<DecisionRecord> {
  using S = DecisionRecord;
  using D = SpeculationDecision;
  static constexpr const char* kName = "Decision";
  static constexpr std::array kRows = {row<S, &S::at>("at_us"),
                                       row<S, &S::decision, &D::role>("role"),
                                       row<S, &S::decision, &D::step>("step"),
                                       row<S, &S::decision, &D::attempt>("attempt"),
                                       row<S, &S::decision, &D::start>("started"),
                                       Field<S>{"reason",
                                                [](const S& self) -> nb::object {
                                                  return nb::str(to_string(self.decision.reason));
                                                }},
                                       row<S, &S::decision, &D::p>("p"),
                                       row<S, &S::decision, &D::gain>("gain_us"),
                                       row<S, &S::decision, &D::depth>("depth"),
                                       row<S, &S::decision, &D::beyond>("beyond"),
                                       row<S, &S::decision, &D::undisturbed>("undisturbed"),
                                       row<S, &S::decision, &D::others>("others"),
                                       row<S, &S::decision, &D::critic_slowdown>("critic_slowdown"),
                                       row<S, &S::decision, &D::generator_rate>("generator_rate"),
                                       row<S, &S::decision, &D::verdict_time>("verdict_us"),
                                       row<S, &S::decision, &D::generate_time>("generate_us")};
};

// None where it cannot be read.
[[nodiscard]] nb::object plain_of_verdict(const std::optional<Verdict>& verdict);
// {"kind": ..., ...} as interleave_rt.wire has it; the pixels of an attempt_image lie beside it.
[[nodiscard]] nb::dict dict_of(ReaderEvent&& event);
[[nodiscard]] nb::dict dict_of(const DriverCounters& counters);

}  // namespace irt
