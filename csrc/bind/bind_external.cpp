// Calls that Python runs: plain data out and in, pixels as arrays that keep their buffer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

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
struct Fields<Call> {
  using C = Call;
  static constexpr auto kRows =
      join(fields<&C::role, &C::request, &C::step, &C::attempt, &C::retry, &C::seed, &C::prompt,
                  &C::mode, &C::max_steps, &C::width, &C::height, &C::denoising_steps>(),
           std::array{row<&C::original>("original_prompt")});
};
template <>
struct Fields<ExternalCounters> {
  using S = ExternalCounters;
  static constexpr auto kRows =
      join(fields<&S::handed_out, &S::strays>(), std::array{row<&S::lease_ended>("leases_ended")});
};

namespace {

using Unlocked = nb::call_guard<WithoutGil>;

// The lane as Python holds it: in the process of its engine.
class BoundLane : public OneProcess {
 public:
  explicit BoundLane(std::shared_ptr<ExternalLane> lane) : lane_(std::move(lane)) {}
  [[nodiscard]] ExternalLane& lane() const {
    check();
    return *lane_;
  }

 private:
  std::shared_ptr<ExternalLane> lane_;
};

template <class Result, class... In>
auto on_lane(Result (ExternalLane::*method)(In...)) {
  return [method](BoundLane& self, In... in) { return (self.lane().*method)(std::move(in)...); };
}

Dict told(const ExternalCall& given, TimePoint now) {
  const LaneCall& call = *given.call;
  Dict out = dict_of(call.call);
  out["id"] = given.id;
  out["speculative"] = call.speculative.load();
  nb::list images;
  for (const ImageRef& image : call.images) {
    images.append(image ? nb::cast(array_of(image->pixels.view(), image)) : nb::none());
  }
  out["images"] = images;
  const TimePoint deadline = call.call.deadline;
  out["left_s"] =
      deadline == kNever ? nb::none() : nb::cast(static_cast<double>(deadline - now) / 1e6);
  return out;
}

Verdict verdict_of(const Dict& values) {
  auto verdict = struct_of<Verdict>(values);
  verdict.readable = true;
  if (verdict.accepted) verdict.refined.reset();
  return verdict;
}

std::pair<Dicts, std::vector<std::uint64_t>> poll(BoundLane& self, int timeout_ms,
                                                  std::size_t most) {
  ExternalLane& lane = self.lane();
  ExternalPoll got =
      unlocked([&] { return lane.poll(std::chrono::milliseconds(std::max(0, timeout_ms)), most); });
  Dicts calls;
  for (const ExternalCall& call : got.calls) calls.append(told(call, lane.now()));
  return {calls, std::move(got.cancelled)};
}

bool finish(BoundLane& self, std::uint64_t call, LaneResult result) {
  return unlocked([&] { return self.lane().finish(call, std::move(result)); });
}

BoundLane add_lane(BoundEngine& engine, const std::string& role, int capacity,
                   const std::string& device, const std::string& name, double lease_s) {
  if (!(lease_s > 0.0 && lease_s < 1e6)) {
    throw Error(ErrorCode::kBadRequest, "[add_external_lane] lease_s is " +
                                            std::to_string(lease_s) + ": give seconds over 0");
  }
  const LaneInfo info{0, named<Role>(role), capacity, device, name};
  return BoundLane(irt::add_external_lane(engine.driver(), info, std::llround(lease_s * 1e6)));
}

}  // namespace

void bind_external(nb::module_& m) {
  using B = BoundLane;
  using E = ExternalLane;
  nb::class_<B>(m, "ExternalLane",
                "A lane whose calls the caller runs. Thread-safe; outlives its engine. What "
                "returns a bool says whether the call is still wanted.")
      .def("poll", &poll, "timeout_ms"_a, "most"_a,
           "Waits for calls or cancels: (calls, ids of calls under way that were cancelled).")
      .def(
          "step_closed",
          [](B& self, std::uint64_t call, const Dict& step) {
            auto closed = struct_of<PlanStep>(step);
            return unlocked([&] { return self.lane().step_closed(call, std::move(closed)); });
          },
          "call"_a, "step"_a, "The next step of a plan can be read, the answer goes on.")
      .def("verdict_known", on_lane(&E::verdict_known), "call"_a, "accepted"_a, "p_success"_a,
           Unlocked(), "The boolean of a verdict can be read, the answer goes on.")
      .def(
          "wrote",
          [](B& self, std::uint64_t call, const nb::bytes& answer, const std::string& stop) {
            return self.lane().wrote(call, {answer.c_str(), answer.size()},
                                     named<StopReason>(stop));
          },
          "call"_a, "answer"_a, "stop"_a,
          "What its model wrote, for the trace, and why it wrote no more; before its end.")
      .def("cut_prompt", on_lane(&E::cut_prompt), "call"_a, Unlocked(),
           "Its model does not read its prompt to the end; before its end.")
      .def("progress", on_lane(&E::progress), "call"_a, Unlocked(), "Keeps the lease of the call.")
      .def("wanted", on_lane(&E::wanted), "call"_a, Unlocked())
      .def(
          "finish_plan",
          [](B& self, std::uint64_t call, const Dict& plan) {
            return finish(self, call, struct_of<Plan>(plan));
          },
          "call"_a, "plan"_a, "As interleave_rt.wire.WrittenPlan.as_dict().")
      .def(
          "finish_image",
          [](B& self, std::uint64_t call, const PixelsIn& pixels) {
            return finish(self, call, copy_of(pixels));
          },
          "call"_a, "pixels"_a.noconvert(), "uint8 [height, width, 3].")
      .def(
          "finish_verdict",
          [](B& self, std::uint64_t call, const std::optional<Dict>& verdict) {
            return finish(self, call, verdict ? verdict_of(*verdict) : Verdict{});
          },
          "call"_a, "verdict"_a.none(),
          "As interleave_rt.wire.Verdict.as_dict(); None: it could not be read.")
      .def(
          "fail",
          [](B& self, std::uint64_t call, const std::string& code, std::string message) {
            return self.lane().fail(call, {named<ErrorCode>(code), std::move(message)});
          },
          "call"_a, "code"_a, "message"_a, Unlocked())
      .def("cancelled", on_lane(&E::cancelled), "call"_a, Unlocked(),
           "A cancelled call was given up.")
      .def_prop_ro(
          "closed", [](const B& self) { return self.lane().closed(); }, Unlocked(),
          "The engine is closed.")
      .def("counters", [](const B& self) { return dict_of(self.lane().counters()); });
  m.def("add_external_lane", &add_lane, "engine"_a, "role"_a, "capacity"_a, "device"_a, "name"_a,
        "lease_s"_a, Unlocked(),
        "A worker that is silent, or keeps a call without a sign, for longer than `lease_s` loses "
        "its calls.");
}

}  // namespace irt
