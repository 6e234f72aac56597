// The simulator, and what speculation buys, to the microsecond. (What it may not cost:
// test_law4.cpp.)
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "core/error.h"
#include "sim/workload.h"

namespace irt::test {
namespace {

constexpr double kMs = 1000.0;

SimTask task(std::vector<std::vector<SimVerdict>> says) {
  SimTask made;
  made.plan = 160 * kMs;
  for (std::size_t i = 0; i < says.size(); ++i) {
    made.closes.push_back((40 + 30 * static_cast<double>(i)) * kMs);
    auto& step = made.steps.emplace_back();
    for (const SimVerdict one : says[i]) step.push_back({60 * kMs, 40 * kMs, 60 * kMs, one});
  }
  return made;
}

SimTask accepted(std::size_t steps) {
  return task(std::vector<std::vector<SimVerdict>>(steps, {SimVerdict::kAccepted}));
}

LoadConfig load(SpeculationMode mode, int depth = 1) {
  LoadConfig config;
  config.lanes = {{{1, Role::kPlanner, 4, "a", "planner"}},
                  {{2, Role::kGenerator, 1, "b", "generator"}},
                  {{3, Role::kCritic, 4, "c", "critic"}}};
  config.speculation = {mode, depth};
  config.sim.scheduler.max_queued = 100;
  return config;
}

TimePoint e2e(const LoadReport& report, std::size_t task = 0) {
  return report.requests[task].ended - report.requests[task].submitted;
}

// The least time of any schedule with one generator: it never waits for a verdict that accepts.
double closed_form(const SimTask& task) {
  double now = 0;
  double last = 0;
  for (std::size_t i = 0; i < task.steps.size(); ++i) {
    now = std::max(now, task.closes[i]);
    for (const SimAttempt& attempt : task.steps[i]) {
      now += attempt.generate;
      if (&attempt == &task.steps[i].back()) break;  // the t_max-th is not judged
      if (attempt.says == SimVerdict::kAccepted) {
        last = std::max(last, now + attempt.verdict);
        break;
      }
      now += attempt.judge;
    }
  }
  return std::max(now, last);
}

}  // namespace

TEST_CASE("a load meets the closed forms") {
  const auto run = [](const LoadConfig& config) {
    const LoadReport report = simulate_load(config, {accepted(5)});
    CHECK(report.complete);
    return e2e(report) / 1000;
  };
  CHECK(run(load(SpeculationMode::kOff)) == 40 + 5 * (60 + 40));
  CHECK(run(load(SpeculationMode::kDepth)) == 40 + 5 * 60 + 40);
  CHECK(run(load(SpeculationMode::kAuto)) == 40 + 5 * 60 + 40);
  LoadConfig plain = load(SpeculationMode::kOff);
  plain.optimizations.stream_plan = plain.optimizations.early_verdict =
      plain.optimizations.skip_last_judge = false;
  CHECK(run(plain) == 160 + 5 * (60 + 60));
}

TEST_CASE("with unlimited depth the time meets the closed form exactly") {
  std::mt19937_64 random(5);
  const auto in = [&random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  LoadConfig config = load(SpeculationMode::kDepth, 25);
  config.lanes[2].info.capacity = 100;
  config.cancel_parts = 0;  // at once
  for (int round = 0; round < 500; ++round) {
    CAPTURE(round);
    SimTask made;
    made.t_max = in(1, 5);
    SimAttempt attempt;
    attempt.generate = in(1, 1000);
    attempt.judge = in(2, 1000);
    attempt.verdict = in(1, static_cast<int>(attempt.judge));
    const int odds = in(0, 100);
    for (int i = in(1, 8); i > 0; --i) {
      made.closes.push_back(in(1, 1500));
      auto& step = made.steps.emplace_back();
      for (int t = 0; t < made.t_max; ++t) {
        attempt.says = in(0, 99) < odds ? SimVerdict::kAccepted : SimVerdict::kRefused;
        step.push_back(attempt);
      }
    }
    std::sort(made.closes.begin(), made.closes.end());
    made.plan = made.closes.back();
    config.sim.seed = static_cast<std::uint64_t>(round);
    REQUIRE(static_cast<double>(e2e(simulate_load(config, {made}))) == closed_form(made));
  }
}

TEST_CASE("a refusal costs its answer and a cancel quantum, not more") {
  const auto no = SimVerdict::kRefused;
  const std::vector<SimTask> tasks = {task({{no, SimVerdict::kAccepted}, {SimVerdict::kAccepted}})};
  const LoadReport off = simulate_load(load(SpeculationMode::kOff), tasks);
  CHECK(e2e(off) / 1000 == 40 + (60 + 60) + (60 + 40) + (60 + 40));
  // Beside the verdict (40 ms) the next step's image was begun: it stops at its cancel point at
  // 45 ms, before the retry needs the generator at 60 ms.
  const LoadReport ahead = simulate_load(load(SpeculationMode::kDepth), tasks);
  CHECK(e2e(ahead) / 1000 == 40 + (60 + 60) + 60 + 60 + 40);
  int cancelled = 0;
  for (const LoadCall& call : ahead.calls) {
    if (!call.cancelled) continue;
    ++cancelled;
    CHECK(call.role == Role::kGenerator);
    CHECK(call.speculative);
    CHECK_FALSE(call.used);
    CHECK(call.cancel - call.started == 40'000);
    CHECK(call.ended - call.started == 45'000);
  }
  CHECK(cancelled == 1);
}

TEST_CASE("a batching curve slows the calls of one lane") {
  LoadConfig config = load(SpeculationMode::kOff);
  config.concurrency = 2;
  config.lanes[1].info.capacity = 2;
  config.lanes[1].batching = {1.0, 1.5};
  const LoadReport report = simulate_load(config, {accepted(1), accepted(1)});
  // Two plans, two images at 2/3 of the speed, two verdicts.
  CHECK(e2e(report, 0) == (40 + 90 + 40) * 1000);
  CHECK(e2e(report, 1) == (40 + 90 + 40) * 1000);
  // Beyond its last value the curve goes on in a straight line: three take twice as long.
  config.concurrency = 3;
  config.lanes[1].info.capacity = 3;
  const LoadReport three = simulate_load(config, {accepted(1), accepted(1), accepted(1)});
  CHECK(e2e(three, 2) == (40 + 120 + 40) * 1000);
}

TEST_CASE("a call right after another one is spared its constant") {
  LoadConfig config = load(SpeculationMode::kDepth);
  config.lanes[1].warm_saving = 10 * kMs;
  CHECK(e2e(simulate_load(config, {accepted(5)})) == (40 + 60 + 4 * 50 + 40) * 1000);
  // It rests while the critic judges.
  config.speculation.mode = SpeculationMode::kOff;
  CHECK(e2e(simulate_load(config, {accepted(5)})) == (40 + 5 * (60 + 40)) * 1000);
  // What calls at once save is in the curve.
  config.concurrency = 2;
  config.lanes[1].info.capacity = 2;
  config.lanes[1].batching = {1.0, 1.5};
  const LoadReport two = simulate_load(config, {accepted(1), accepted(1)});
  CHECK(e2e(two, 1) == (40 + 90 + 40) * 1000);
}

TEST_CASE("devices that are one machine slow each other by its table") {
  LoadConfig config = load(SpeculationMode::kOff);
  for (SimLane& lane : config.lanes) lane.machine = "cpu";
  SimRates rates;
  for (auto& row : rates) row.fill(1.0);
  const auto both =
      (1U << static_cast<int>(Role::kPlanner)) | (1U << static_cast<int>(Role::kGenerator));
  rates[both] = {0.8, 0.5, 1.0};
  config.sim.rates["cpu"] = rates;
  const LoadReport report = simulate_load(config, {accepted(1)});
  // The plan goes on for 120 ms of work at 0.8 = 150 ms: the image (60 ms) takes 120 ms beside it.
  CHECK(e2e(report) == (40 + 120 + 40) * 1000);
  CHECK(report.busy[static_cast<std::size_t>(Role::kGenerator)] == 120'000);
}

TEST_CASE("closed loop, arrivals and refusals") {
  LoadConfig config = load(SpeculationMode::kAuto);
  // A request ends with its plan: 160 ms, though its image is accepted after 140.
  config.submit_delay = 1000;
  config.sim.reader_delay = 2000;
  const std::vector<SimTask> tasks(3, accepted(1));
  const LoadReport loop = simulate_load(config, tasks);
  CHECK(e2e(loop, 0) == 162'000);
  CHECK(loop.requests[1].submitted == 163'000);
  CHECK(loop.requests[2].submitted == 326'000);

  config.concurrency = 0;
  config.arrivals = {0, 1'000'000, 5'000'000};
  const LoadReport open = simulate_load(config, tasks);
  CHECK(open.requests[2].submitted == 5'000'000);
  CHECK(open.ended == 5'162'000);

  config.arrivals = {0, 0, 0};
  config.sim.scheduler.max_live = 1;
  config.sim.scheduler.max_queued = 1;
  const LoadReport full = simulate_load(config, tasks);
  CHECK(full.requests[2].refused);
  CHECK_FALSE(full.requests[1].refused);
}

TEST_CASE("the same load gives the same records, whatever else was simulated") {
  std::vector<SimTask> tasks;
  for (int i = 0; i < 40; ++i) {
    const auto third = i % 3 == 0 ? SimVerdict::kRefused : SimVerdict::kAccepted;
    tasks.push_back(
        task({{third, SimVerdict::kAccepted}, {SimVerdict::kAccepted}, {third, third}}));
  }
  LoadConfig config = load(SpeculationMode::kDepth, 2);
  config.concurrency = 6;
  const LoadReport one = simulate_load(config, tasks);
  const LoadReport two = simulate_load(config, tasks);
  REQUIRE(one.calls.size() == two.calls.size());
  CHECK(one.ended == two.ended);
  CHECK(one.events == two.events);
  for (const LoadRequest& request : one.requests) {
    CHECK(request.steps == 3);
    CHECK(request.images.size() == 3);
  }
  CHECK(one.counters.strays == 0);
}

TEST_CASE("loads that make no sense are refused") {
  const auto refused = [](const LoadConfig& config, const std::vector<SimTask>& tasks) {
    try {
      (void)simulate_load(config, tasks);
      return std::string();
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::kBadRequest);
      return std::string(error.what());
    }
  };
  LoadConfig config = load(SpeculationMode::kOff);
  CHECK(refused(config, {}).find("no task") != std::string::npos);
  SimTask wrong = accepted(1);
  wrong.steps[0][0].verdict = 99 * kMs;
  CHECK(refused(config, {wrong}).find("verdict") != std::string::npos);
  wrong = accepted(1);
  wrong.t_max = 11;
  CHECK(refused(config, {wrong}).find("t_max") != std::string::npos);
  config.concurrency = 0;
  CHECK(refused(config, {accepted(1)}).find("arrival") != std::string::npos);
}

}  // namespace irt::test
