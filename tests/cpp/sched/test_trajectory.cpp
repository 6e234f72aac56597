#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "describe.h"
#include "sched/trajectory.h"
#include "script.h"

namespace irt::test {
namespace {

std::string told_of(const PendingCall& want) {
  return to_hex(want.call->key) + " " + std::to_string(want.beyond) + " " +
         std::to_string(want.probability) + (want.certain ? " certain" : "") +
         (want.after_retry ? " after retry" : "");
}

// What was told, plan steps first: they are told as they close, whatever else has happened.
void sort_out(std::vector<std::string>& story) {
  std::stable_partition(story.begin(), story.end(),
                        [](const std::string& told) { return told.starts_with("plan"); });
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out.append(line).append("; ");
  return out;
}

struct Fact {
  Key key;
  Role role;
  Event event;  // StepClosed, VerdictKnown or CallDone
};

const Key& key_in(const Fact& fact) { return fact.key; }
const Key& key_in(const PendingCall& want) { return want.call->key; }

void tell(Trajectory& trajectory, const Fact& fact) {
  Event event = fact.event;
  std::optional<Failure> failure;
  if (auto* step = std::get_if<StepClosed>(&event)) failure = trajectory.add(std::move(*step));
  if (auto* known = std::get_if<VerdictKnown>(&event)) failure = trajectory.add(*known);
  if (auto* done = std::get_if<CallDone>(&event)) {
    failure = trajectory.add(fact.key, fact.role, std::move(done->result));
  }
  REQUIRE(!failure);
}

TEST_CASE("reading on from the cursor equals reading everything from the start") {
  const AcceptOdds odds = AcceptModel(PolicyConfig{}).odds();
  std::mt19937_64 random(77);
  const auto pick = [&random](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    Script script;
    script.seed = random();
    script.plan_steps = 1 + static_cast<int>(pick(6));
    script.accept = 0.6;
    script.text_only = 0.15;
    script.plan_unreadable = 0.1;
    script.verdict_unreadable = 0.1;
    script.refined_unreadable = 0.2;
    RequestSpec spec;
    spec.text = "draw";
    spec.t_max = 1 + static_cast<int>(pick(4));
    spec.judge_last = pick(2) == 0;
    spec.keep = pick(2) == 0 ? Keep::kBest : Keep::kLast;
    spec.optimizations.stream_plan = pick(3) != 0;
    spec.optimizations.early_verdict = pick(3) != 0;
    spec.optimizations.skip_last_judge = pick(3) != 0;
    const int limit = static_cast<int>(pick(4));

    Trajectory trajectory(1, spec);
    Progress progress;
    std::vector<Fact> facts;
    std::vector<std::string> story;
    std::set<Key> told;  // calls that have reported a partial
    int steps_closed = 0;
    Key closing;
    for (int turn = 0; turn < 2000; ++turn) {
      progress.clear();
      trajectory.read(odds, limit, progress);
      for (const Notice& notice : progress.notices) story.push_back(describe(notice));

      // What is no longer at hand does not count. (keep=best may come back to it: a second call.)
      const std::vector<Fact> known = facts;
      std::erase_if(facts, [&](const Fact& fact) {
        const auto& dropped = progress.wasted;
        if (std::find(dropped.begin(), dropped.end(), fact.key) != dropped.end()) return true;
        const auto about = [&fact](const auto& it) { return key_in(it) == fact.key; };
        return std::holds_alternative<VerdictKnown>(fact.event) &&
               std::none_of(progress.pending_calls.begin(), progress.pending_calls.end(), about) &&
               std::count_if(known.begin(), known.end(), about) == 1;
      });
      Trajectory fresh(1, spec);
      Progress whole;
      for (const Fact& fact : facts) tell(fresh, fact);
      fresh.read(odds, limit, whole);
      std::vector<std::string> again;
      for (const Notice& notice : whole.notices) again.push_back(describe(notice));
      std::vector<std::string> so_far = story;
      sort_out(so_far);
      sort_out(again);
      REQUIRE(joined(again) == joined(so_far));
      std::vector<std::string> pending;
      std::vector<std::string> pending_again;
      for (const PendingCall& want : progress.pending_calls) pending.push_back(told_of(want));
      for (const PendingCall& want : whole.pending_calls) pending_again.push_back(told_of(want));
      REQUIRE(joined(pending_again) == joined(pending));
      const auto& held = trajectory.held();
      const auto& held_again = fresh.held();
      REQUIRE(std::set<Key>(held_again.begin(), held_again.end()) ==
              std::set<Key>(held.begin(), held.end()));
      if (progress.ended) break;

      REQUIRE(!progress.pending_calls.empty());
      const Call call = *progress.pending_calls[pick(progress.pending_calls.size())].call;
      const CallResult result = std::get<CallResult>(script.result(call));
      Fact fact{call.key, call.role, CallDone{call.key, result}};
      if (pick(2) == 0) {
        const auto* plan = std::get_if<Plan>(&result);
        const auto* verdict = std::get_if<Verdict>(&result);
        if (plan != nullptr) {
          if (closing != call.key) steps_closed = 0;
          closing = call.key;
          if (steps_closed < static_cast<int>(plan->steps.size())) {
            const auto index = static_cast<std::size_t>(steps_closed);
            fact.event = StepClosed{call.key, steps_closed++, plan->steps[index]};
          }
        } else if (verdict != nullptr && verdict->readable && told.insert(call.key).second) {
          fact.event = VerdictKnown{call.key, verdict->accepted, verdict->p_success};
        }
      }
      tell(trajectory, fact);
      facts.push_back(fact);
    }
    CHECK(trajectory.ended());
    CHECK(trajectory.held().empty());
  }
}

TEST_CASE("pending calls carry the odds of every verdict that they lie beyond") {
  AcceptOdds odds{};
  odds.fill(0.5);
  odds[1] = 0.8;
  RequestSpec spec;
  spec.text = "draw";
  Trajectory trajectory(1, spec);
  Script script;
  script.plan_steps = 4;
  script.accept = 0.0;
  Progress progress;
  // Answers the last want, which lies the furthest ahead, `turns` times.
  const auto run_ahead = [&](int turns) {
    for (int i = 0; i < turns; ++i) {
      progress.clear();
      trajectory.read(odds, 2, progress);
      const Call call = *progress.pending_calls.back().call;
      REQUIRE(call.role != Role::kCritic);
      REQUIRE(!trajectory.add(call.key, call.role, std::get<CallResult>(script.result(call))));
    }
    progress.clear();
    trajectory.read(odds, 2, progress);
  };
  run_ahead(3);  // the plan, and the images of steps 0 and 1
  REQUIRE(progress.pending_calls.size() == 3);
  CHECK(progress.pending_calls[0].certain);
  CHECK(progress.pending_calls[0].call->role == Role::kCritic);
  CHECK(progress.pending_calls[1].beyond == 1);
  CHECK(progress.pending_calls[1].probability == doctest::Approx(0.8));
  CHECK(progress.pending_calls[2].beyond == 2);
  CHECK(progress.pending_calls[2].probability == doctest::Approx(0.64));
  CHECK(!progress.pending_calls[2].after_retry);
  // Step 0 is refused: what was read ahead is dropped, its image released.
  const Call judge = *progress.pending_calls[0].call;
  REQUIRE(!trajectory.add(judge.key, judge.role, std::get<CallResult>(script.result(judge))));
  progress.clear();
  trajectory.read(odds, 2, progress);
  CHECK(progress.wasted.size() == 1);
  CHECK(progress.released.size() == 2);
  REQUIRE(progress.pending_calls.size() == 1);
  CHECK(progress.pending_calls[0].call->attempt == 2);
  CHECK(progress.pending_calls[0].certain);
  run_ahead(1);
  REQUIRE(progress.pending_calls.size() == 2);
  CHECK(progress.pending_calls[1].after_retry);
  CHECK(progress.pending_calls[1].probability == doctest::Approx(0.5));
}

}  // namespace
}  // namespace irt::test
