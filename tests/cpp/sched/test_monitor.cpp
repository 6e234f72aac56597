// The checkers must find what is planted, or they prove nothing.
#include <doctest/doctest.h>

#include "support/monitor.h"

namespace irt::test {
namespace {

Call generate(RequestId request, const Key& source = {}) {
  Call call;
  call.role = Role::kGenerator;
  call.request = request;
  call.source = source;
  call.key = key_of(call);
  return call;
}

struct Turn {
  Event event;
  std::vector<Command> commands;
  const char* finds = nullptr;  // none: nothing is wrong so far
};

// Request 5 on one lane, and then these.
void check(const std::vector<Turn>& turns) {
  Monitor monitor;
  monitor.follow(LaneUp{{1, Role::kGenerator, 1, "gpu", "g"}}, {});
  monitor.follow(Submit{5, {}}, {});
  CHECK(!monitor.settled());
  for (const Turn& turn : turns) {
    monitor.follow(turn.event, turn.commands);
    std::string all;
    for (const std::string& violation : monitor.violations()) all += violation + "\n";
    CHECK((turn.finds == nullptr ? all.empty() : all.find(turn.finds) != std::string::npos));
  }
}

TEST_CASE("the monitor finds calls, images and notices that are twice, too many or out of order") {
  const Call call = generate(5);
  const StartCall start{1, call, false};
  check({{Tick{}, {start}},
         {Tick{}, {start}, "runs already"},
         {Tick{}, {}, "beyond the lane's capacity"},
         {Tick{}, {StartCall{9, call, false}}, "not up"},
         {Tick{}, {CancelCall{1, Key{3, 3}}}, "cancels a call that does not run"}});
  check({{Tick{}, {start}},
         {CallDone{call.key, Image{call.key, 1}}, {ReleaseImage{5, call.key}}},
         {Tick{}, {ReleaseImage{5, call.key}}, "releases an image twice"},
         {Tick{}, {StartCall{1, generate(5, call.key), false}}, "on a released image"}});
  check({{Tick{}, {Deliver{5, AttemptReady{0, {}}}}, "before its step"}});
  check({{Tick{}, {Deliver{5, PlanStepReady{1, {}}}}, "plan steps out of order"}});
  StepCommitted step;
  step.result.attempts.resize(1);
  check({{Tick{}, {Deliver{5, PlanStepReady{0, {}}}}},
         {Tick{}, {Deliver{5, step}}, "other attempts"}});
  check({{Tick{}, {Deliver{5, RequestEnded{}}}},
         {Tick{}, {Deliver{5, RequestEnded{}}}, "after its end"}});
}

TEST_CASE("the snapshot check finds lost images, idle slots and speculation in the way") {
  Snapshot seen;
  seen.max_live = 1;
  seen.live = 1;
  RequestView view;
  view.request = 5;
  view.phase = RequestPhase::kLive;
  view.admitted = true;
  PendingView want;
  want.key = Key{1, 1};
  want.role = Role::kGenerator;
  want.images = {Key{2, 2}};
  view.pending_calls = {want};
  view.images = {Key{2, 2}};
  seen.requests = {view};
  CHECK(check_snapshot(seen).empty());

  LaneView lane;
  lane.info = {1, Role::kGenerator, 1, "gpu", "g"};
  seen.lanes = {lane};
  CHECK(check_snapshot(seen) ==
        std::vector<std::string>{"committed work waits beside a free slot"});
  RunningView run;
  run.key = Key{9, 9};
  run.request = 5;
  run.role = Role::kGenerator;
  run.speculative = true;
  seen.lanes[0].running = {run};
  CHECK(check_snapshot(seen).size() == 2);  // nobody wants it, and it is in the way
  seen.lanes[0].running[0].cancelling = true;
  CHECK(check_snapshot(seen).empty());
  seen.requests[0].images.clear();
  CHECK(check_snapshot(seen).size() == 1);
  seen.requests[0].images = {Key{2, 2}};
  seen.live = 2;
  CHECK(check_snapshot(seen) == std::vector<std::string>{"more live requests than max_live"});
}

}  // namespace
}  // namespace irt::test
