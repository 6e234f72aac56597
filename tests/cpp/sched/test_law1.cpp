// Law 1 and 2 under random schedules. A failing schedule prints the line that replays it.
#include <doctest/doctest.h>

#include <cstdlib>
#include <random>
#include <string>

#include "reference.h"
#include "sched/invariants.h"
#include "script.h"

namespace irt::test {
namespace {

std::uint64_t env(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::strtoull(text, nullptr, 10);
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  int in(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  double unit() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }
  bool flip(double p) { return unit() < p; }

 private:
  std::mt19937_64 random_;
};

RequestSpec random_spec(Dice& dice, RequestId id) {
  RequestSpec spec;
  spec.text = "request " + std::to_string(id);
  spec.seed = static_cast<std::uint64_t>(dice.in(0, 1000));
  spec.seed_rule = dice.flip(0.2) ? SeedRule::kReference : SeedRule::kCounter;
  spec.t_max = dice.in(1, 6);
  spec.max_steps = dice.flip(0.2) ? dice.in(1, 5) : 25;
  spec.keep = dice.flip(0.3) ? Keep::kBest : Keep::kLast;
  spec.judge_last = dice.flip(0.3);
  if (dice.flip(0.3)) {
    spec.mode = PlanMode::kGuidance;
    for (int i = dice.in(1, 3); i > 0; --i) {
      spec.images.push_back(Key{id, static_cast<std::uint64_t>(dice.in(1, 2))});
    }
  }
  const int mode = dice.in(0, 2);
  spec.speculation.mode = static_cast<SpeculationMode>(mode);
  spec.speculation.depth = dice.flip(0.2) ? 25 : dice.in(1, 3);
  spec.devices.stream_plan = dice.flip(0.7);
  spec.devices.early_verdict = dice.flip(0.7);
  spec.devices.skip_last_judge = dice.flip(0.7);
  spec.devices.encode_text_ahead = dice.flip(0.7);
  spec.devices.cache_vision = dice.flip(0.7);
  return spec;
}

Script random_script(Dice& dice) {
  Script script;
  script.seed = static_cast<std::uint64_t>(dice.in(0, 1 << 30));
  script.plan_steps = dice.flip(0.1) ? 25 : dice.in(1, 7);
  script.text_only = dice.flip(0.3) ? dice.unit() : 0.0;
  script.plan_unreadable = dice.flip(0.2) ? 0.5 : 0.0;
  script.plan_truncated = 0.3;
  script.accept = dice.unit();
  script.verdict_unreadable = dice.flip(0.3) ? 0.3 : 0.0;
  script.refined_unreadable = dice.flip(0.3) ? 0.4 : 0.0;
  script.call_fails = dice.flip(0.15) ? 0.03 : 0.0;
  script.speculation_fails = dice.flip(0.2) ? 0.3 : 0.0;
  script.plan_time = dice.in(1, 3000);
  script.generate_time = dice.in(1, 3000);
  script.judge_time = dice.in(1, 3000);
  script.verdict_share = dice.unit();
  script.stream = dice.flip(0.8);
  return script;
}

struct Schedule {
  SimConfig config;
  std::vector<Script> scripts;
  std::vector<RequestSpec> specs;
  bool disturbed = false;  // cancels, deadlines, lane deaths: a request may end early
};

// Builds the simulation; everything is drawn from the seed.
Schedule draw(Dice& dice, std::uint64_t seed) {
  Schedule out;
  out.config.seed = seed;
  out.config.scheduler.max_live = dice.in(1, 8);
  out.config.scheduler.max_queued = dice.in(0, 8);
  out.config.scheduler.lane_grace = dice.in(0, 5000);
  out.config.scheduler.policy.min_samples = 1;
  if (dice.flip(0.5)) out.config.rate_beside = {0.9, 0.5 + dice.unit() / 2, 0.5 + dice.unit() / 2};
  out.config.reader_delay = dice.flip(0.3) ? dice.in(0, 5000) : 0;
  const int requests = dice.in(1, 8);
  for (int r = 0; r < requests; ++r) {
    out.scripts.push_back(random_script(dice));
    out.specs.push_back(random_spec(dice, static_cast<RequestId>(r)));
  }
  out.disturbed = dice.flip(0.4);
  return out;
}

void play(Dice& dice, Schedule& schedule, Simulator& sim) {
  LaneId id = 0;
  const int devices = dice.in(1, 3);
  std::vector<SimLane> lanes;
  for (int role = 0; role < kRoles; ++role) {
    for (int n = dice.in(1, 3); n > 0; --n) {
      SimLane lane;
      lane.info = {id++, static_cast<Role>(role), dice.in(1, 4),
                   "cuda:" + std::to_string(dice.in(0, devices - 1)), "lane"};
      lane.cancel_delay = dice.flip(0.3) ? 0 : dice.in(1, 800);
      lanes.push_back(lane);
      sim.add_lane(lane, dice.flip(0.9) ? 0 : dice.in(1, 1000));
    }
  }
  for (std::size_t r = 0; r < schedule.specs.size(); ++r) {
    RequestSpec& spec = schedule.specs[r];
    const TimePoint at = dice.flip(0.5) ? 0 : dice.in(0, 10000);
    if (schedule.disturbed && dice.flip(0.2)) spec.deadline = at + dice.in(0, 20000);
    sim.at(at, Submit{static_cast<RequestId>(r), spec});
    if (schedule.disturbed && dice.flip(0.2)) {
      sim.at(at + dice.in(0, 20000), CancelRequest{static_cast<RequestId>(r)});
    }
  }
  if (!schedule.disturbed) return;
  for (const SimLane& lane : lanes) {
    if (!dice.flip(0.15)) continue;
    const TimePoint down = dice.in(1001, 15000);  // every lane has come up by then
    sim.at(down, LaneDown{lane.info.id, {ErrorCode::kBackendFailed, "the lane has died"}});
    if (dice.flip(0.7)) sim.at(down + dice.in(1, 8000), LaneUp{lane.info});
  }
}

std::string compare(const SimRequest& got, const ReferenceResult& want) {
  const RequestEnded* end = got.end();
  const std::vector<StepResult> steps = got.steps();
  if (steps.size() > want.steps.size()) return "more steps than the reference";
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::string what = difference(steps[i], want.steps[i]);
    if (!what.empty()) return "step " + std::to_string(i) + ": " + what;
  }
  if (end->outcome == Outcome::kFinished) {
    if (!want.finished) return "finished where the reference fails";
    if (steps.size() != want.steps.size()) return "fewer steps than the reference";
    if (end->plan_truncated != want.plan_truncated) return "plan_truncated";
    return "";
  }
  if (!end->failure) return "ended early without saying why";
  // What was told of the open step is the beginning of what the reference does there.
  const std::vector<Attempt>& open =
      steps.size() < want.steps.size() ? want.steps[steps.size()].attempts : want.unfinished;
  std::size_t made = 0;
  for (const Notice& notice : got.notices) {
    if (std::holds_alternative<StepCommitted>(notice)) made = 0;
    if (const auto* ready = std::get_if<AttemptReady>(&notice)) {
      if (ready->step != static_cast<int>(steps.size())) continue;
      if (made >= open.size()) return "an attempt that the reference does not make";
      const std::string what = difference(ready->attempt, open[made++], false);
      if (!what.empty()) return "open step: " + what;
    } else if (const auto* judged = std::get_if<VerdictReady>(&notice)) {
      if (judged->step != static_cast<int>(steps.size())) continue;
      const auto& verdict = open[made - 1].verdict;
      if (!verdict || verdict->accepted != judged->verdict.accepted) return "open step: verdict";
    }
  }
  return "";
}

struct Totals {
  std::uint64_t requests = 0;
  std::uint64_t finished = 0;
  std::uint64_t speculated = 0;
  std::uint64_t preempted = 0;
  std::uint64_t restarted = 0;
  std::uint64_t events = 0;
};

std::string run_schedule(std::uint64_t seed, Totals& totals) {
  Dice dice(seed);
  Schedule schedule = draw(dice, seed);
  Simulator sim(schedule.config, model_of(schedule.scripts));
  play(dice, schedule, sim);
  Monitor monitor;
  std::string problem;
  sim.observe(
      [&](const Event& event, const std::vector<Command>& commands, const Scheduler& scheduler) {
        ++totals.events;
        monitor.follow(event, commands);
        if (!problem.empty()) return;
        const auto violations = check_snapshot(scheduler.snapshot());
        if (!violations.empty()) problem = violations.front();
        if (!monitor.violations().empty()) problem = monitor.violations().front();
      });
  if (!sim.run(200'000)) return "does not come to an end";
  if (!problem.empty()) return problem;
  if (!monitor.settled()) return "a request did not end, or an image was not released";
  if (!sim.scheduler().idle()) return "not idle at the end";
  const Counters& counters = sim.scheduler().counters();
  if (counters.strays != 0) return "stray events";
  for (const RoleCounters& role : counters.role) {
    if (role.speculated != role.speculation_used + role.speculation_wasted) {
      return "speculation that was neither used nor wasted";
    }
    totals.speculated += role.speculated;
    totals.preempted += role.preempted;
    totals.restarted += role.restarted;
  }
  for (const auto& [id, request] : sim.requests()) {
    ++totals.requests;
    if (request.refused) continue;
    const auto& script = schedule.scripts[static_cast<std::size_t>(id)];
    const ReferenceResult want =
        run_reference(id, schedule.specs[static_cast<std::size_t>(id)],
                      [&script](const Call& call) { return script.result(call); });
    const RequestEnded* end = request.end();
    if (end == nullptr) return "no end was told";
    if (end->outcome == Outcome::kFinished) ++totals.finished;
    if (!schedule.disturbed && want.finished && end->outcome != Outcome::kFinished &&
        end->failure->message.find("lane is up") == std::string::npos) {
      return "ended early although nothing disturbed it: " + end->failure->message;
    }
    const std::string what = compare(request, want);
    if (!what.empty()) return "request " + std::to_string(id) + ": " + what;
  }
  return "";
}

TEST_CASE("every schedule commits what the sequential loop commits, or a prefix of it") {
  const std::uint64_t first = env("IRT_SEED", 20260613);
  const std::uint64_t schedules = env("IRT_SCHEDULES", 3000);
  MESSAGE("IRT_SEED=" << first << " IRT_SCHEDULES=" << schedules);
  Totals totals;
  for (std::uint64_t i = 0; i < schedules; ++i) {
    const std::string problem = run_schedule(first + i, totals);
    INFO("replay: IRT_SEED=" << first + i << " IRT_SCHEDULES=1 test_sched -tc='every schedule*'");
    REQUIRE(problem == "");
  }
  MESSAGE(totals.requests << " requests, " << totals.finished << " finished, " << totals.speculated
                          << " calls speculated, " << totals.preempted << " preempted, "
                          << totals.restarted << " restarted, " << totals.events << " events");
  if (schedules >= 1000) {  // the schedules must reach what they are meant to test
    CHECK(totals.finished > totals.requests / 3);
    CHECK(totals.speculated > totals.requests);
    CHECK(totals.preempted > 100);
    CHECK(totals.restarted > 10);
  }
}

}  // namespace
}  // namespace irt::test
