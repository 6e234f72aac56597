// The simulator: loads in, records out. Python draws the work and computes the figures.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind/convert.h"
#include "bind/values.h"
#include "sim/workload.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

// (generate, verdict, judge, says) with says 0 refused, 1 accepted, 2 unreadable.
using AttemptIn = std::tuple<double, double, double, int>;

SimTask task_of(double plan, std::vector<double> closes,
                const std::vector<std::vector<AttemptIn>>& steps, int t_max) {
  SimTask task{plan, std::move(closes), {}, t_max};
  for (const auto& step : steps) {
    auto& to = task.steps.emplace_back();
    for (const auto& [generate, verdict, judge, says] : step) {
      to.push_back({generate, verdict, judge, static_cast<SimVerdict>(says)});
    }
  }
  return task;
}

void bind_input(nb::module_& m) {
  nb::class_<SimTask>(m, "SimTask", "One simulated request: its answers, and its work in us.")
      .def(nb::new_(&task_of), "plan"_a, "closes"_a, "steps"_a, "t_max"_a = 5);
  nb::class_<SimLane>(m, "SimLane", "A lane of the simulator.")
      .def(
          "__init__",
          [](SimLane* self, int role, int capacity, std::string device, std::string machine,
             std::vector<double> batching, TimePoint cancel_us, TimePoint warm_us) {
            if (role < 0 || role >= kRoles) {
              throw Error(ErrorCode::kBadRequest,
                          "[SimLane] role is " + std::to_string(role) + ": 0, 1 or 2 is wanted");
            }
            new (self) SimLane{{0, static_cast<Role>(role), capacity, std::move(device), ""},
                               cancel_us,
                               std::move(batching),
                               std::move(machine),
                               warm_us};
          },
          "role"_a, "capacity"_a, "device"_a, "machine"_a = "",
          "batching"_a = std::vector<double>{}, "cancel_us"_a = 0, "warm_us"_a = 0);
  using C = LoadConfig;
  nb::class_<C>(m, "SimLoad", "A load, and what it runs on.")
      .def(nb::init<>())
      .def_prop_rw(
          "lanes", [](const C& self) { return self.lanes.size(); },
          [](C& self, std::vector<SimLane> lanes) {
            self.lanes = std::move(lanes);
            for (std::size_t i = 0; i < self.lanes.size(); ++i) {
              self.lanes[i].info.id = static_cast<LaneId>(i + 1);
            }
          },
          nb::for_setter(nb::sig("def lanes(self, arg: list[SimLane], /) -> None")))
      .def(
          "set_rates",
          [](C& self, const std::string& machine, const SimRates& rates) {
            self.sim.rates[machine] = rates;
          },
          "machine"_a, "rates"_a,
          "[mask][role]: the rate of a role while exactly the roles of the mask are active.")
      .def_prop_rw(
          "speculation_mode", [](const C& self) { return name_of(self.speculation.mode); },
          [](C& self, const std::string& mode) {
            self.speculation.mode = named<SpeculationMode>(mode);
          })
      .def_prop_rw(
          "speculation_depth", [](const C& self) { return self.speculation.depth; },
          [](C& self, int depth) { self.speculation.depth = depth; })
      .def(
          "set_devices",
          [](C& self, bool stream_plan, bool early_verdict, bool skip_last_judge) {
            self.optimizations.stream_plan = stream_plan;
            self.optimizations.early_verdict = early_verdict;
            self.optimizations.skip_last_judge = skip_last_judge;
          },
          "stream_plan"_a, "early_verdict"_a, "skip_last_judge"_a)
      .def(
          "set_overlap",
          [](C& self, std::optional<double> critic_slowdown, std::optional<double> generator_rate) {
            self.sim.scheduler.policy.critic_slowdown = critic_slowdown;
            self.sim.scheduler.policy.generator_rate = generator_rate;
          },
          "critic_slowdown"_a.none(), "generator_rate"_a.none(),
          "What the policy is told beforehand; None: it measures.")
      .def(
          "set_limits",
          [](C& self, int max_live, int max_queued) {
            self.sim.scheduler.max_live = max_live;
            self.sim.scheduler.max_queued = max_queued;
          },
          "max_live"_a, "max_queued"_a)
      .def_prop_rw(
          "seed", [](const C& self) { return self.sim.seed; },
          [](C& self, std::uint64_t seed) { self.sim.seed = seed; })
      .def_prop_rw(
          "reader_us", [](const C& self) { return self.sim.reader_delay; },
          [](C& self, TimePoint us) { self.sim.reader_delay = us; })
      .def_rw("submit_us", &C::submit_delay)
      .def_rw("judge_last", &C::judge_last)
      .def_rw("cancel_parts", &C::cancel_parts)
      .def_rw("concurrency", &C::concurrency)
      .def_rw("arrivals", &C::arrivals)
      .def_rw("max_events", &C::max_events);
}

void bind_output(nb::module_& m) {
  nb::class_<LoadCall>(m, "SimCall", "One call as it went; times in us.")
      .def_ro("task", &LoadCall::task)
      .def_prop_ro("role", [](const LoadCall& self) { return static_cast<int>(self.role); })
      .def_ro("step", &LoadCall::step)
      .def_ro("attempt", &LoadCall::attempt)
      .def_ro("speculative", &LoadCall::speculative)
      .def_ro("cancelled", &LoadCall::cancelled)
      .def_ro("used", &LoadCall::used)
      .def_ro("started_us", &LoadCall::started)
      .def_ro("ended_us", &LoadCall::ended)
      .def_ro("verdict_us", &LoadCall::verdict)
      .def_ro("cancel_us", &LoadCall::cancel);
  nb::class_<LoadRequest>(m, "SimRequest", "One request as it went; times in us.")
      .def_ro("submitted_us", &LoadRequest::submitted)
      .def_ro("ended_us", &LoadRequest::ended)
      .def_ro("refused", &LoadRequest::refused)
      .def_ro("attempts", &LoadRequest::attempts)
      .def_ro("images_us", &LoadRequest::images)
      .def_ro("steps", &LoadRequest::steps);
  nb::class_<LoadReport>(m, "SimReport", "What became of a load.")
      .def_ro("requests", &LoadReport::requests)
      .def_ro("calls", &LoadReport::calls)
      .def_ro("busy_us", &LoadReport::busy)
      .def_ro("ended_us", &LoadReport::ended)
      .def_ro("events", &LoadReport::events)
      .def_ro("complete", &LoadReport::complete)
      .def_prop_ro("judged", [](const LoadReport& self) { return self.counters.judged; })
      .def_prop_ro("accepted", [](const LoadReport& self) { return self.counters.accepted; });
}

}  // namespace

void bind_simulate(nb::module_& m) {
  bind_input(m);
  bind_output(m);
  m.def("simulate_load", &simulate_load, "load"_a, "tasks"_a,
        nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace irt
