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

struct Watched : Monitor {
  Watched() {
    follow(LaneUp{{1, Role::kGenerator, 1, "gpu", "g"}}, {});
    follow(Submit{5, {}}, {});
    REQUIRE(violations().empty());
  }
  bool finds(const char* what) const {
    for (const std::string& violation : violations()) {
      if (violation.find(what) != std::string::npos) return true;
    }
    return false;
  }
};

TEST_CASE("the monitor finds calls that run twice, too many or nowhere") {
  Watched monitor;
  const Call call = generate(5);
  monitor.follow(Tick{}, {StartCall{1, call, false}});
  CHECK(monitor.violations().empty());
  monitor.follow(Tick{}, {StartCall{1, call, false}});
  CHECK(monitor.finds("runs already"));
  CHECK(monitor.finds("beyond the lane's capacity"));
  monitor.follow(Tick{}, {StartCall{9, call, false}});
  CHECK(monitor.finds("not up"));
  monitor.follow(Tick{}, {CancelCall{1, Key{3, 3}}});
  CHECK(monitor.finds("cancels a call that does not run"));
}

TEST_CASE("the monitor finds images that are released twice, or read when they are gone") {
  Watched monitor;
  const Call call = generate(5);
  monitor.follow(Tick{}, {StartCall{1, call, false}});
  monitor.follow(CallDone{call.key, Image{call.key, 1}}, {ReleaseImage{5, call.key}});
  CHECK(monitor.violations().empty());
  monitor.follow(Tick{}, {ReleaseImage{5, call.key}});
  CHECK(monitor.finds("releases an image twice"));
  monitor.follow(Tick{}, {StartCall{1, generate(5, call.key), false}});
  CHECK(monitor.finds("on a released image"));
}

TEST_CASE("the monitor finds notices out of order, after the end, or missing") {
  const auto tell = [](Notice notice) {
    return std::vector<Command>{Deliver{5, std::move(notice)}};
  };
  SUBCASE("an attempt before its plan step") {
    Watched monitor;
    monitor.follow(Tick{}, tell(AttemptReady{0, {}}));
    CHECK(monitor.finds("before its step"));
  }
  SUBCASE("a later step first") {
    Watched monitor;
    monitor.follow(Tick{}, tell(PlanStepReady{1, {}}));
    CHECK(monitor.finds("plan steps out of order"));
  }
  SUBCASE("a step with attempts that nobody was told of") {
    Watched monitor;
    monitor.follow(Tick{}, tell(PlanStepReady{0, {}}));
    StepCommitted step;
    step.result.attempts.resize(1);
    monitor.follow(Tick{}, tell(step));
    CHECK(monitor.finds("other attempts"));
  }
  SUBCASE("two ends") {
    Watched monitor;
    CHECK(!monitor.settled());
    monitor.follow(Tick{}, tell(RequestEnded{}));
    CHECK(monitor.violations().empty());
    CHECK(monitor.settled());
    monitor.follow(Tick{}, tell(RequestEnded{}));
    CHECK(monitor.finds("after its end"));
  }
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
