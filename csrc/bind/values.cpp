#include "bind/values.h"

#include <nanobind/stl/optional.h>

#include <cstdio>
#include <span>
#include <utility>

#include "bind/convert.h"

namespace irt {
namespace {

nb::object hex_of(const Image& image) {
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx",
                static_cast<unsigned long long>(image.hash));
  return nb::str(digits.data());
}

nb::object final_image(const StepResult& step) {
  for (const Attempt& attempt : step.attempts) {
    if (step.image && attempt.image.key == *step.image) return hex_of(attempt.image);
  }
  return nb::none();
}

// One entry a name of the enum.
template <class Enum, class Values>
Dict by_name(const Values& values) {
  Dict out;
  for (std::size_t i = 0; i < values.size(); ++i) out[kNames<Enum>[i]] = plain_of(values[i]);
  return out;
}

}  // namespace

template <>
struct Fields<Attempt> {
  using S = Attempt;
  static constexpr auto kRows = join(
      fields<&S::number, &S::prompt, &S::seed, &S::refused_unreadable>(),
      std::array{
          Field<S>{"image", [](const S& self) { return hex_of(self.image); }},
          row<&S::image, &Image::prompt_cut>("prompt_cut"),
          Field<S>{"image_hash", [](const S& self) { return hex_of(self.image); }},
          Field<S>{"verdict", [](const S& self) { return nb::cast(if_readable(self.verdict)); }}});
};
template <>
struct Fields<StepResult> {
  using S = StepResult;
  static constexpr auto kRows = join(fields<&S::plan, &S::accepted, &S::attempts>(),
                                     std::array{Field<S>{"image", &final_image}});
};
template <>
struct Fields<PlanStepReady> {
  static constexpr auto kRows = fields<&PlanStepReady::index, &PlanStepReady::step>();
};
template <>
struct Fields<AttemptReady> {
  using S = AttemptReady;
  static constexpr std::array kRows = {row<&S::step>("index"), row<&S::attempt>("attempt")};
};
template <>
struct Fields<VerdictReady> {
  using S = VerdictReady;
  static constexpr std::array kRows = {
      row<&S::step>("index"), row<&S::attempt>("attempt"),
      Field<S>{"verdict", [](const S& self) { return nb::cast(if_readable(self.verdict)); }}};
};
template <>
struct Fields<StepCommitted> {
  using S = StepCommitted;
  static constexpr std::array kRows = {row<&S::step>("index"), row<&S::result>("step")};
};
template <>
struct Fields<RequestEnded> {
  using S = RequestEnded;
  static constexpr std::array kRows = {row<&S::outcome>("outcome"),
                                       row<&S::plan_truncated>("plan_truncated"),
                                       row<&S::failure>("error")};
};
template <>
struct Fields<RoleCounters> {
  using S = RoleCounters;
  static constexpr auto kRows =
      fields<&S::started, &S::speculated, &S::promoted, &S::preempted, &S::cancelled, &S::done,
             &S::failed, &S::restarted, &S::committed, &S::speculation_used,
             &S::speculation_wasted>();
};
template <>
struct Fields<DriverCounters> {
  using S = DriverCounters;
  using C = Counters;
  using T = TextBroker::Counters;
  static constexpr auto kScheduler = &S::scheduler;
  static constexpr auto kRows = join(
      At<kScheduler>::fields<&C::plans_unreadable, &C::verdicts_unreadable, &C::refined_unreadable,
                             &C::requests_accepted, &C::requests_refused, &C::lanes_lost>(),
      At<&S::text>::fields<&T::prefetches_dropped>(),
      fields<&S::live, &S::images, &S::image_bytes, &S::begun_anew>(),
      std::array{row<&S::text, &T::requests>("text_requests"),
                 row<&S::text, &T::cache_hits>("text_cache_hits"),
                 row<&S::running>("running_calls")});
};

std::optional<Dict> if_readable(const std::optional<Verdict>& verdict) {
  return verdict && verdict->readable ? std::optional(dict_of(*verdict)) : std::nullopt;
}

Dict dict_of(ReaderEvent&& event) {
  static constexpr const char* kKinds[] = {"plan_step", "attempt_image", "verdict",
                                           "step_committed", "finished"};
  static_assert(std::size(kKinds) == std::variant_size_v<Notice>);
  Dict out;
  out["kind"] = kKinds[event.notice.index()];
  std::visit([&out](const auto& notice) { add_fields(out, notice); }, event.notice);
  if (event.image) {
    const ImageView view = event.image->pixels.view();
    out["pixels"] = array_of(view, std::move(event.image));
  }
  return out;
}

Dict dict_of(const DriverCounters& counters) {
  const Counters& scheduler = counters.scheduler;
  Dict out = by_name<Role>(scheduler.role);
  add_fields(out, counters);
  out["judged_by_attempt"] = plain_of(std::span(scheduler.judged).subspan(1));
  out["accepted_by_attempt"] = plain_of(std::span(scheduler.accepted).subspan(1));
  out["requests_ended"] = by_name<Outcome>(scheduler.requests_ended);
  out["decisions"] = by_name<SpeculationReason>(scheduler.decisions);
  out["strays"] = scheduler.strays + counters.stray_reports;
  out["unforgotten"] = counters.records - static_cast<std::size_t>(counters.live);
  return out;
}

}  // namespace irt
