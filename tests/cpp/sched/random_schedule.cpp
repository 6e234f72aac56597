#include "random_schedule.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "cross_check.h"
#include "describe.h"
#include "support/monitor.h"

namespace irt::test {
namespace {

RequestSpec random_spec(Dice& dice, RequestId id) {
  RequestSpec spec;
  spec.text = "request " + std::to_string(id);
  spec.seed = static_cast<std::uint64_t>(dice.in(0, 1000));
  spec.seed_rule = dice.flip(0.2) ? SeedRule::kReference : SeedRule::kCounter;
  spec.references = spec.seed % 3 == 0 ? 1 + static_cast<int>(spec.seed / 3 % 4) : 1;
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
  spec.optimizations.stream_plan = dice.flip(0.7);
  spec.optimizations.early_verdict = dice.flip(0.7);
  spec.optimizations.skip_last_judge = dice.flip(0.7);
  spec.optimizations.encode_text_ahead = dice.flip(0.7);
  spec.optimizations.cache_vision = dice.flip(0.7);
  return spec;
}

Script random_script(Dice& dice) {
  Script script;
  script.seed = static_cast<std::uint64_t>(dice.in(0, 1 << 30));
  script.plan_steps = dice.flip(0.1) ? 25 : dice.in(1, 7);
  script.text_only = dice.flip(0.3) ? dice.unit() : 0.0;
  script.plan_unreadable = dice.flip(0.2) ? 0.5 : 0.0;
  script.plan_truncated = 0.3;
  script.plan_violated = dice.flip(0.3) ? 0.4 : 0.0;
  script.accept = dice.unit();
  script.verdict_unreadable = dice.flip(0.3) ? 0.3 : 0.0;
  script.refined_unreadable = dice.flip(0.3) ? 0.4 : 0.0;
  script.call_fails = dice.flip(0.15) ? 0.03 : 0.0;
  script.speculation_fails = dice.flip(0.2) ? 0.3 : 0.0;
  script.plan_time = dice.in(1, dice.flip(0.1) ? 30'000 : 3000);
  script.generate_time = dice.in(1, 3000);
  script.judge_time = dice.in(1, 3000);
  script.verdict_share = dice.unit();
  script.accepted_tail = dice.flip(0.5) ? dice.in(1, 2000) : 0;
  script.stream = dice.flip(0.8);
  return script;
}

// Builds the simulation; everything is drawn from the seed.
Schedule draw(Dice& dice, std::uint64_t seed) {
  Schedule out;
  out.config.seed = seed;
  out.config.scheduler.max_live = dice.in(1, 8);
  out.config.scheduler.max_queued = dice.in(0, 8);
  out.config.scheduler.lane_grace = dice.flip(0.1) ? 0 : dice.in(0, 5000);
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
      lane.cancel_delay = dice.flip(0.3) ? 0 : dice.in(1, dice.flip(0.2) ? 6000 : 800);
      lanes.push_back(lane);
      sim.add_lane(lane, dice.flip(0.9) ? 0 : dice.in(1, 1000));
    }
  }
  for (std::size_t r = 0; r < schedule.specs.size(); ++r) {
    RequestSpec& spec = schedule.specs[r];
    const TimePoint at = dice.flip(0.5) ? 0 : dice.in(0, 10000);
    if (schedule.disturbed && dice.flip(0.2))
      spec.deadline = at + (dice.flip(0.05) ? 0 : dice.in(0, 20000));
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

// The image store is full now and then, and one request at a time may go on, or none.
void fill_store(Dice& dice, const Schedule& schedule, Simulator& sim) {
  if (!dice.flip(0.3)) return;
  TimePoint at = dice.in(0, 5000);
  for (int times = dice.in(1, 6); times > 0; --times) {
    ImageRoom room{.little = true};
    if (dice.flip(0.7)) {
      room.only = static_cast<RequestId>(dice.in(0, static_cast<int>(schedule.specs.size()) - 1));
    }
    sim.at(at, room);
    at += dice.in(0, 3000);
    if (dice.flip(0.5)) sim.at(at, ImageRoom{});
  }
  sim.at(at, ImageRoom{});
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

struct Wrong {
  std::string what;
};

void expect(bool holds, const char* what) {
  if (!holds) throw Wrong{what};
}

void check_end(const Simulator& sim, const Schedule& schedule, Oracle& oracle,
               const CrossCheck& cross, Totals& totals) {
  expect(Snapshot(sim.scheduler()).idle(), "not idle at the end");
  const Counters& counters = sim.scheduler().counters();
  expect(counters.strays == 0, "stray events");
  for (const RoleCounters& role : counters.role) {
    expect(role.speculated == role.speculation_used + role.speculation_wasted,
           "speculation that was neither used nor wasted");
    totals.speculated += role.speculated;
    totals.preempted += role.preempted;
    totals.restarted += role.restarted;
  }
  const RoleCounters& generator = counters.role[static_cast<std::size_t>(Role::kGenerator)];
  expect(generator.speculation_used == cross.images_made_ahead(),
         "an image counts as speculated that was not made ahead, or the other way round");
  for (const auto& [id, request] : sim.requests()) {
    ++totals.requests;
    if (request.refused) continue;
    const ReferenceResult& want = oracle.of(id);
    const RequestEnded* end = request.end();
    if (end == nullptr) throw Wrong{"no end was told"};
    if (end->outcome == Outcome::kFinished) ++totals.finished;
    if (!schedule.disturbed && want.finished && end->outcome != Outcome::kFinished &&
        end->failure->message.find("lane is up") == std::string::npos) {
      throw Wrong{"ended early although nothing disturbed it: " + end->failure->message};
    }
    const std::string what = compare(request, want);
    if (!what.empty()) throw Wrong{"request " + std::to_string(id) + ": " + what};
  }
}

void run_checked(Dice& dice, std::uint64_t seed, Totals& totals, const Log& log) {
  Schedule schedule = draw(dice, seed);
  Simulator sim(schedule.config, model_of(schedule.scripts));
  play(dice, schedule, sim);
  fill_store(dice, schedule, sim);
  Oracle oracle(schedule.specs, schedule.scripts);
  Monitor monitor;
  CrossCheck cross(schedule.specs, oracle, monitor);
  Coverage::Tracker tracker(totals.coverage, schedule.specs);
  sim.observe(
      [&](const Event& event, const std::vector<Command>& commands, const Scheduler& scheduler) {
        ++totals.events;
        if (log) log(describe(sim.now(), event, commands, scheduler.decisions()));
        const Snapshot snapshot(scheduler);
        monitor.follow(event, commands, snapshot);
        if (!monitor.violations().empty()) throw Wrong{monitor.violations().front()};
        const std::string problem = cross.follow(event, commands, snapshot, sim.now());
        if (!problem.empty()) throw Wrong{problem};
        const std::string impossible = tracker.follow(event, commands, snapshot);
        if (!impossible.empty()) throw Wrong{impossible};
      });
  constexpr std::size_t kMostEvents = 50'000;
  expect(sim.run(kMostEvents), "does not come to an end");
  expect(monitor.settled(), "a request did not end, or an image was not released");
  check_end(sim, schedule, oracle, cross, totals);
  ++totals.schedules;
}

}  // namespace

std::uint64_t env(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::strtoull(text, nullptr, 10);
}

void Totals::add(const Totals& other) {
  schedules += other.schedules;
  requests += other.requests;
  finished += other.finished;
  speculated += other.speculated;
  preempted += other.preempted;
  restarted += other.restarted;
  events += other.events;
  coverage.add(other.coverage);
}

std::string run_schedule(std::uint64_t seed, Totals& totals, const Log& log) {
  Dice dice(seed);
  try {
    run_checked(dice, seed, totals, log);
  } catch (const Wrong& wrong) {
    return wrong.what;
  } catch (const std::exception& error) {
    return std::string("apply() or snapshot() throws: ") + error.what();
  }
  return "";
}

Campaign run_schedules(std::uint64_t first, std::uint64_t schedules, unsigned jobs) {
  Campaign out;
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> limit{schedules};  // all below the first failure are still run
  std::mutex mutex;
  const auto work = [&] {
    Totals totals;
    for (;;) {
      const std::uint64_t i = next.fetch_add(1);
      if (i >= limit.load()) break;
      std::string problem = run_schedule(first + i, totals);
      if (problem.empty()) continue;
      const std::lock_guard lock(mutex);
      if (i >= limit.load()) continue;
      limit = i;
      out.failed = i;
      out.problem = std::move(problem);
    }
    const std::lock_guard lock(mutex);
    out.totals.add(totals);
  };
  std::vector<std::jthread> threads;
  for (unsigned job = 1; job < jobs; ++job) threads.emplace_back(work);
  work();
  threads.clear();
  return out;
}

}  // namespace irt::test
