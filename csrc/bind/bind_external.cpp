// Calls that Python runs: plain data out and in, pixels as arrays that keep their buffer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bind/convert.h"
#include "bind/engine.h"
#include "bind/values.h"
#include "engine/external_lane.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {

template <>
struct Fields<ExternalCall> {
  using S = ExternalCall;
  static constexpr const char* kName = "ExternalCall";
  static constexpr std::array kRows = {row<S, &S::id>("id"),
                                       row<S, &S::call, &Call::role>("role"),
                                       row<S, &S::call, &Call::request>("request"),
                                       row<S, &S::call, &Call::step>("step"),
                                       row<S, &S::call, &Call::attempt>("attempt"),
                                       row<S, &S::call, &Call::retry>("retry"),
                                       row<S, &S::call, &Call::seed>("seed"),
                                       row<S, &S::call, &Call::prompt>("prompt"),
                                       row<S, &S::call, &Call::original>("original_prompt"),
                                       row<S, &S::call, &Call::mode>("mode"),
                                       row<S, &S::call, &Call::max_steps>("max_steps"),
                                       row<S, &S::call, &Call::width>("width"),
                                       row<S, &S::call, &Call::height>("height"),
                                       row<S, &S::call, &Call::denoising_steps>("denoising_steps"),
                                       row<S, &S::speculative>("speculative")};
};
template <>
struct Fields<ExternalCounters> {
  using S = ExternalCounters;
  static constexpr const char* kName = "ExternalCounters";
  static constexpr std::array kRows = {row<S, &S::handed_out>("handed_out"),
                                       row<S, &S::strays>("strays"),
                                       row<S, &S::lease_ended>("leases_ended")};
};

namespace {

using Unlocked = nb::call_guard<nb::gil_scoped_release>;
using Work = ExternalWork;

nb::dict told(const ExternalCall& given, TimePoint now) {
  nb::dict out = dict_of(given);
  nb::list images;
  for (const ImageRef& image : given.images) {
    images.append(image ? nb::cast(array_of(image->pixels.view(), image)) : nb::none());
  }
  out["images"] = images;
  const TimePoint deadline = given.call.deadline;
  out["left_s"] =
      deadline == kNever ? nb::none() : nb::cast(static_cast<double>(deadline - now) / 1e6);
  return out;
}

Verdict verdict_of(const nb::dict& values) {
  auto verdict = struct_of<Verdict>(values);
  verdict.readable = true;
  if (verdict.accepted) verdict.refined.reset();
  return verdict;
}

nb::tuple poll(Work& self, int timeout_ms, std::size_t most) {
  ExternalPoll got;
  {
    const nb::gil_scoped_release unlocked;
    got = self.poll(std::chrono::milliseconds(std::max(0, timeout_ms)), most);
  }
  nb::list calls;
  for (const ExternalCall& call : got.calls) calls.append(told(call, self.now()));
  nb::list cancelled;
  for (const std::uint64_t id : got.cancelled) cancelled.append(id);
  return nb::make_tuple(calls, cancelled);
}

bool finish(Work& self, std::uint64_t call, ExternalAnswer answer) {
  const nb::gil_scoped_release unlocked;
  return self.finish(call, std::move(answer));
}

std::shared_ptr<Work> add_lane(BoundEngine& engine, const std::string& role, int capacity,
                               const std::string& device, const std::string& name, double lease_s,
                               bool bitwise) {
  if (!(lease_s > 0.0 && lease_s < 1e6)) {
    throw Error(ErrorCode::kBadRequest, "[add_external_lane] lease_s is " +
                                            std::to_string(lease_s) + ": give seconds over 0");
  }
  const LaneInfo info{0, named<Role>(role), capacity, device, name, bitwise};
  return irt::add_external_lane(engine.driver(), info, std::llround(lease_s * 1e6));
}

}  // namespace

void bind_external(nb::module_& m) {
  nb::class_<Work>(m, "ExternalLane",
                   "A lane whose calls the caller runs. Thread-safe; outlives its engine. What "
                   "returns a bool says whether the call is still wanted.")
      .def("poll", &poll, "timeout_ms"_a, "most"_a,
           nb::sig("def poll(self, timeout_ms: int, most: int) -> "
                   "tuple[list[dict[str, typing.Any]], list[int]]"),
           "Waits for calls or cancels: (calls, ids of calls under way that were cancelled).")
      .def(
          "step_closed",
          [](Work& self, std::uint64_t call, const nb::dict& step) {
            auto closed = struct_of<PlanStep>(step);
            const nb::gil_scoped_release unlocked;
            return self.step_closed(call, std::move(closed));
          },
          "call"_a, "step"_a,
          nb::sig("def step_closed(self, call: int, step: dict[str, typing.Any]) -> bool"),
          "The next step of a plan can be read, the answer goes on.")
      .def("verdict_known", &Work::verdict_known, "call"_a, "accepted"_a, "p_success"_a, Unlocked(),
           "The boolean of a verdict can be read, the answer goes on.")
      .def("progress", &Work::progress, "call"_a, Unlocked(), "Keeps the lease of the call.")
      .def("wanted", &Work::wanted, "call"_a, Unlocked())
      .def(
          "finish_plan",
          [](Work& self, std::uint64_t call, const nb::list& steps, bool truncated) {
            Plan plan;
            for (const nb::handle step : steps) plan.steps.push_back(struct_of<PlanStep>(step));
            plan.truncated = truncated;
            return finish(self, call, std::move(plan));
          },
          "call"_a, "steps"_a, "truncated"_a,
          nb::sig("def finish_plan(self, call: int, steps: list[dict[str, typing.Any]], "
                  "truncated: bool) -> bool"))
      .def(
          "finish_image",
          [](Work& self, std::uint64_t call, const PixelsIn& pixels) {
            return finish(self, call, copy_of(pixels));
          },
          "call"_a, "pixels"_a.noconvert(), "uint8 [height, width, 3].")
      .def(
          "finish_verdict",
          [](Work& self, std::uint64_t call, const std::optional<nb::dict>& verdict) {
            return finish(self, call, verdict ? verdict_of(*verdict) : Verdict{});
          },
          "call"_a, "verdict"_a.none(),
          nb::sig(
              "def finish_verdict(self, call: int, verdict: dict[str, typing.Any] | None) -> bool"),
          "As interleave_rt.wire.Verdict.as_dict(); None: it could not be read.")
      .def(
          "fail",
          [](Work& self, std::uint64_t call, const std::string& code, std::string message) {
            Failure failure{named<ErrorCode>(code), std::move(message)};
            const nb::gil_scoped_release unlocked;
            return self.fail(call, std::move(failure));
          },
          "call"_a, "code"_a, "message"_a)
      .def("cancelled", &Work::cancelled, "call"_a, Unlocked(), "A cancelled call was given up.")
      .def_prop_ro("closed", &Work::closed, Unlocked(), "The engine is closed.")
      .def(
          "counters", [](const Work& self) { return dict_of(self.counters()); },
          nb::sig("def counters(self) -> dict[str, int]"));
  m.def("add_external_lane", &add_lane, "engine"_a, "role"_a, "capacity"_a, "device"_a, "name"_a,
        "lease_s"_a, "bitwise"_a = true, Unlocked(),
        "A worker that is silent, or keeps a call without a sign, for longer than `lease_s` loses "
        "its calls; `bitwise`: equal calls give equal bits.");
}

}  // namespace irt
