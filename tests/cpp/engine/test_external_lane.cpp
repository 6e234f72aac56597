// Calls that leave C++: what a worker sees and may say, and what its silence costs.
#include <doctest/doctest.h>

#include <thread>

#include "engine/outside.h"

using namespace irt;
using namespace irt::test;
using std::chrono::milliseconds;

namespace {

constexpr TimePoint kHour = 3'600'000'000;

// Writes down what a lane reports.
class Told final : public LaneEvents {
 public:
  void step_closed(const Key&, int index, PlanStep step) override {
    said.push_back("step " + std::to_string(index) + " " + step.step_name);
  }
  void verdict_known(const Key&, bool accepted, double) override {
    said.push_back(accepted ? "accepted" : "refused");
  }
  void done(const Key&, CallResult) override { said.emplace_back("done"); }
  void failed(const Key&, Failure failure) override {
    said.push_back("failed: " + failure.message);
  }
  void cancelled(const Key&) override { said.emplace_back("cancelled"); }
  void down(LaneId, Failure) override { said.emplace_back("down"); }
  void up(LaneId) override { said.emplace_back("up"); }

  std::vector<std::string> take() { return std::exchange(said, {}); }
  std::vector<std::string> said;
};

using Said = std::vector<std::string>;

struct Rig {
  explicit Rig(Role role, int capacity = 2)
      : work(std::make_shared<ExternalWork>(LaneInfo{1, role, capacity, "", "lane"}, kHour, told,
                                            images, clock)),
        lane(work) {}

  static Call call(int number) {
    Call made;
    made.key = Key{7, static_cast<std::uint64_t>(number)};
    made.prompt = std::to_string(number);
    return made;
  }
  ExternalPoll poll(std::size_t most = 8) { return work->poll(milliseconds(0), most); }

  Told told;
  ImageStore images{1000};
  Clock clock;
  std::shared_ptr<ExternalWork> work;
  ExternalLane lane;
};

bool mentions(const Said& said, const std::string& text) {
  return said.size() == 1 && said[0].find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("certain calls are handed out first, a promoted one with them") {
  Rig rig(Role::kGenerator, 4);
  for (const int number : {1, 2, 3}) rig.lane.start(Rig::call(number), number != 2);
  rig.lane.promote(Rig::call(3).key);
  const ExternalPoll got = rig.poll();
  REQUIRE(got.calls.size() == 3);
  CHECK(got.calls[0].call.prompt == "2");
  CHECK(got.calls[1].call.prompt == "3");
  CHECK_FALSE(got.calls[1].speculative);
  CHECK(got.calls[2].speculative);
  CHECK(got.calls[0].images.at(0) == nullptr);
  CHECK(rig.poll().calls.empty());
  rig.lane.start(Rig::call(4), false);
  CHECK_THROWS_WITH_AS(rig.lane.start(Rig::call(5), false), doctest::Contains("slots"), Error);
}

TEST_CASE("steps are counted, an end comes once, and what comes after it is a stray") {
  Rig rig(Role::kPlanner);
  rig.lane.start(Rig::call(1), false);
  const std::uint64_t id = rig.poll().calls.at(0).id;
  PlanStep step;
  step.step_name = "a";
  CHECK(rig.work->step_closed(id, step));
  CHECK(rig.work->step_closed(id, step));
  CHECK(rig.work->finish(id, Plan{}));
  CHECK_FALSE(rig.work->finish(id, Plan{}));
  CHECK_FALSE(rig.work->step_closed(id, step));
  CHECK_FALSE(rig.work->fail(id, {}));
  CHECK_FALSE(rig.work->progress(id));
  CHECK_FALSE(rig.work->cancelled(999));
  CHECK(rig.told.take() == Said{"step 0 a", "step 1 a", "done"});
  CHECK(rig.work->counters().strays == 4);
  CHECK(rig.work->counters().handed_out == 1);
}

TEST_CASE("a waiting call is cancelled at once, one under way by its worker") {
  Rig rig(Role::kCritic);
  rig.images.put(Key{1, 1}, {1, 1, {1, 2, 3}});
  Call call = Rig::call(1);
  call.image = Key{1, 1};
  rig.lane.start(call, false);
  rig.lane.cancel(call.key);
  CHECK(rig.told.take() == Said{"cancelled"});
  rig.lane.start(call, false);
  const ExternalCall given = rig.poll().calls.at(0);
  CHECK(given.images.at(1)->hash == rig.images.get(Key{1, 1})->hash);
  CHECK(rig.work->wanted(given.id));
  rig.lane.cancel(call.key);
  rig.lane.cancel(call.key);
  CHECK(rig.told.take().empty());
  CHECK_FALSE(rig.work->wanted(given.id));
  CHECK(rig.poll().cancelled == std::vector<std::uint64_t>{given.id});
  CHECK(rig.poll().cancelled.empty());
  CHECK_FALSE(rig.work->verdict_known(given.id, true, 1.0));
  CHECK(rig.work->cancelled(given.id));
  CHECK(rig.told.take() == Said{"cancelled"});
}

TEST_CASE("answers that no role gives, and images that are none, fail the call") {
  Rig rig(Role::kGenerator);
  const auto answer = [&rig](int number, ExternalAnswer made) {
    rig.lane.start(Rig::call(number), false);
    CHECK(rig.work->finish(rig.poll().calls.at(0).id, std::move(made)));
    return rig.told.take();
  };
  CHECK(mentions(answer(1, Plan{}), "another role"));
  CHECK(mentions(answer(2, PixelBuffer{2, 2, {1}}), "height x width x 3"));
  CHECK(mentions(answer(3, PixelBuffer{20, 20, std::vector<std::uint8_t>(1200)}), "does not fit"));
  CHECK(answer(4, PixelBuffer{1, 1, {1, 2, 3}}) == Said{"done"});
  CHECK(rig.images.get(Rig::call(4).key));
  Call call = Rig::call(5);
  call.source = Key{9, 9};
  CHECK_THROWS_WITH_AS(rig.lane.start(call, false), doctest::Contains("not in the store"), Error);
}

TEST_CASE("silence ends with the lease, and the first poll brings the lane up, empty") {
  Rig rig(Role::kPlanner);
  CHECK(rig.work->expire(kHour / 2) > kHour / 2);
  CHECK(rig.told.take().empty());
  rig.lane.start(Rig::call(1), false);
  const std::uint64_t id = rig.poll().calls.at(0).id;
  rig.lane.start(Rig::call(2), false);
  rig.work->expire(2 * kHour);
  CHECK(rig.told.take() == Said{"down"});
  rig.work->expire(4 * kHour);
  CHECK(rig.told.take().empty());       // told once
  rig.lane.start(Rig::call(3), false);  // ordered before the end was known: its run has ended
  rig.lane.cancel(Rig::call(2).key);
  CHECK_FALSE(rig.work->finish(id, Plan{}));
  CHECK(rig.poll().calls.empty());
  CHECK(rig.poll().calls.empty());
  CHECK(rig.told.take() == Said{"up"});  // asked once
  rig.lane.revive();
  rig.lane.start(Rig::call(1), false);
  const ExternalPoll again = rig.poll();
  REQUIRE(again.calls.size() == 1);
  CHECK(again.calls[0].id != id);
  CHECK(rig.work->finish(again.calls[0].id, Plan{}));
  CHECK(rig.told.take() == Said{"done"});
  CHECK(rig.work->counters().lease_ended == 1);
}

TEST_CASE("closing ends every call, and a worker that goes on is told") {
  Rig rig(Role::kPlanner);
  rig.lane.start(Rig::call(1), false);
  rig.lane.start(Rig::call(2), false);
  const std::uint64_t id = rig.poll(1).calls.at(0).id;
  {
    const ExternalLane last(rig.work);
  }
  CHECK(rig.told.take() == Said{"cancelled", "cancelled"});
  CHECK(rig.work->closed());
  CHECK_FALSE(rig.work->finish(id, Plan{}));
  CHECK(rig.work->poll(std::chrono::seconds(30), 1).calls.empty());
  CHECK(rig.told.take().empty());
  CHECK(rig.work->counters().strays == 0);
}

TEST_CASE("a worker that hangs costs its lease: the call is run again by those that answer") {
  Driver driver({});
  OutsideConfig config;
  config.script.accept = 1.0;
  OutsideLane planner(driver, Role::kPlanner, config, 1);
  OutsideLane critic(driver, Role::kCritic, config, 2);
  const auto work = add_external_lane(driver, {0, Role::kGenerator, 1, "", "hung"}, 30'000);
  const RequestId request = driver.submit(spec_of("hang"));
  const auto begin = std::chrono::steady_clock::now();
  while (work->poll(milliseconds(5), 1).calls.empty()) {
  }
  while (work->counters().lease_ended == 0) std::this_thread::sleep_for(milliseconds(1));
  CHECK(std::chrono::steady_clock::now() - begin >= milliseconds(30));
  // the lease ends on the timer's thread, which reports the lane only after it
  while (driver.counters().scheduler.lanes_lost == 0) std::this_thread::sleep_for(milliseconds(1));
  OutsideLane generator(driver, Role::kGenerator, config, 3);
  const Seen seen = read_all(driver, request);
  CHECK(seen.outcome == Outcome::kFinished);
  CHECK(seen.steps == run_reference(config.script, spec_of("hang"), {}, false).steps);
  driver.close();
}

TEST_CASE("without a worker a request fails with the reason, once the lane's grace is over") {
  DriverConfig limits;
  limits.scheduler.lane_grace = 20'000;
  Driver driver(limits);
  const auto work = add_external_lane(driver, {0, Role::kPlanner, 1, "", "nobody"}, 20'000);
  const Seen seen = read_all(driver, driver.submit(spec_of("is anybody there?")));
  CHECK(seen.outcome == Outcome::kFailed);
  REQUIRE(seen.failure);
  CHECK(seen.failure->code == ErrorCode::kBackendFailed);
  CHECK(seen.failure->message.find("nobody") != std::string::npos);
  CHECK_THROWS_AS((void)add_external_lane(driver, {0, Role::kPlanner, 0, "", ""}, 20'000), Error);
}
