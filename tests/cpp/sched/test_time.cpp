// What speculation buys, to the microsecond. (What it may not cost: test_law4.cpp.)
#include <doctest/doctest.h>

#include <map>
#include <random>

#include "script.h"

namespace irt::test {
namespace {

struct Timed {
  int steps = 1;
  int t_max = 5;
  TimePoint generate = 1;
  TimePoint judge = 1;    // to the end of the answer
  TimePoint verdict = 1;  // to the boolean
  std::vector<TimePoint> plan_ready;
  std::map<std::pair<int, int>, bool> accepts;

  SimAnswer answer(const StartCall& start) const {
    const Call& call = start.call;
    SimAnswer out;
    if (call.role == Role::kPlanner) {
      Plan plan;
      for (int i = 0; i < steps; ++i) {
        PlanStep step;
        step.step_number = i + 1;
        step.prompt = std::string("p").append(std::to_string(i));
        plan.steps.push_back(step);
      }
      out.end = CallResult{plan};
      out.work = plan_ready.back();
      out.steps_closed = plan_ready;
    } else if (call.role == Role::kGenerator) {
      out.end = CallResult{Image{call.key, call.key.lo}};
      out.work = generate;
    } else {
      Verdict said;
      said.readable = true;
      said.accepted = accepts.at({call.step, call.attempt});
      if (!said.accepted) said.refined = call.prompt + "'";
      out.end = CallResult{said};
      out.work = judge;
      out.verdict_known = verdict;
    }
    return out;
  }

  // The least time of any schedule with one generator: it never waits for a verdict that accepts.
  TimePoint closed_form() const {
    TimePoint now = 0;
    TimePoint last = 0;
    for (int i = 0; i < steps; ++i) {
      now = std::max(now, plan_ready[static_cast<std::size_t>(i)]);
      for (int t = 1; t <= t_max; ++t) {
        now += generate;
        if (t == t_max) break;
        if (accepts.at({i, t})) {
          last = std::max(last, now + verdict);
          break;
        }
        now += judge;
      }
    }
    return std::max(now, last);
  }
};

TEST_CASE("with unlimited depth the time meets the closed form exactly") {
  std::mt19937_64 random(5);
  const auto in = [&random](TimePoint low, TimePoint high) {
    return std::uniform_int_distribution<TimePoint>(low, high)(random);
  };
  for (int round = 0; round < 500; ++round) {
    CAPTURE(round);
    Timed timed;
    timed.steps = static_cast<int>(in(1, 8));
    timed.t_max = static_cast<int>(in(1, 5));
    timed.generate = in(1, 1000);
    timed.judge = in(2, 1000);
    timed.verdict = in(1, timed.judge);
    for (int i = 0; i < timed.steps; ++i) timed.plan_ready.push_back(in(0, 1500));
    std::sort(timed.plan_ready.begin(), timed.plan_ready.end());
    const TimePoint odds = in(0, 100);
    for (int i = 0; i < timed.steps; ++i) {
      for (int t = 1; t <= timed.t_max; ++t) timed.accepts[{i, t}] = in(0, 99) < odds;
    }
    SimConfig config;
    config.seed = static_cast<std::uint64_t>(round);
    Simulator sim(config, [&timed](const StartCall& start) { return timed.answer(start); });
    sim.add_lane({{0, Role::kPlanner, 1, "a", "planner"}});
    sim.add_lane({{1, Role::kGenerator, 1, "b", "generator"}});
    sim.add_lane({{2, Role::kCritic, 100, "c", "critic"}});
    RequestSpec spec;
    spec.text = "draw";
    spec.t_max = timed.t_max;
    spec.speculation = {SpeculationMode::kDepth, 25};
    sim.at(0, Submit{1, spec});
    REQUIRE(sim.run());
    REQUIRE(sim.requests().at(1).ended == timed.closed_form());
  }
}

}  // namespace
}  // namespace irt::test
