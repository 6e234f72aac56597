// What lanes may rely on, and what happens when they break their contract.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>

#include "engine/harness.h"
#include "engine/model_lane.h"

using namespace irt;
using namespace irt::test;
using namespace std::chrono_literals;

namespace {

// A lane whose functions are a test's own.
class TestLane final : public Lane {
 public:
  explicit TestLane(LaneInfo lane) : info_(std::move(lane)) {}
  const LaneInfo& info() const noexcept override { return info_; }
  void start(const Call& call, bool speculative) override { on_start(call, speculative); }
  void cancel(const Key& call) override { on_cancel(call); }
  void prefetch(const Prefetch& prefetch) override { on_prefetch(prefetch); }
  std::function<void(const Call&, bool)> on_start;
  std::function<void(const Key&)> on_cancel = [](const Key&) {};
  std::function<void(const Prefetch&)> on_prefetch = [](const Prefetch&) {};

 private:
  LaneInfo info_;
};

}  // namespace

TEST_CASE("a lane that breaks its contract fails the request and nothing else") {
  struct Case {
    const char* text;
    bool stray;
    void (*start)(LaneEvents& events, ImageStore& images, const Key& call);
  };
  const Case cases[] = {
      {"out of luck", false,
       [](LaneEvents&, ImageStore&, const Key&) { throw std::runtime_error("out of luck"); }},
      {"first", true,
       [](LaneEvents& events, ImageStore&, const Key& call) {
         events.failed(call, {ErrorCode::kBackendFailed, "first"});
         events.failed(call, {ErrorCode::kBackendFailed, "second"});
         events.done(call, Image{call, 1});
       }},
      {"not stored", false,
       [](LaneEvents& events, ImageStore&, const Key& call) { events.done(call, Image{call, 1}); }},
      {"stored", false,
       [](LaneEvents& events, ImageStore& images, const Key& call) {
         images.put(call, {1, 1, {1, 2, 3}});
         events.failed(call, {ErrorCode::kBackendFailed, "stored"});
       }},
  };
  for (const Case& bad : cases) {
    Driver driver({});
    ScriptedConfig config = quick_config();
    const auto add = [&](Role role, const char* name) {
      driver.add_lane(
          make_scripted_lane({driver.next_lane_id(), role, 0, name, name}, config, driver));
    };
    add(Role::kPlanner, "planner");
    add(Role::kCritic, "critic");
    auto lane = std::make_unique<TestLane>(
        LaneInfo{driver.next_lane_id(), Role::kGenerator, 1, "bad", "bad"});
    lane->on_start = [&](const Call& call, bool) { bad.start(driver, driver.images(), call.key); };
    driver.add_lane(std::move(lane));
    const RequestId request = driver.submit(spec_of("bad luck"));
    const Seen seen = read_all(driver, request);
    CHECK(seen.outcome == Outcome::kFailed);
    REQUIRE(seen.failure);
    CHECK(seen.failure->code == ErrorCode::kBackendFailed);
    CHECK(seen.failure->message.find(bad.text) != std::string::npos);
    CHECK(settles(driver));
    CHECK((driver.counters().stray_reports > 0) == bad.stray);
    driver.forget(request);
    CHECK(driver.counters().images == 0);
  }
}

namespace {

// A role whose step waits to be let on, and then ends everything that was admitted.
class GatedModel final : public RoleModel {
 public:
  int capacity() const noexcept override { return 2; }
  void admit(const LaneCallRef& call) override {
    note("admit " + call->call.prompt);
    if (call->call.prompt == "unfit") throw Error(ErrorCode::kBadRequest, "it does not fit");
    calls_.push_back(call);
  }
  void step(LaneEvents& events) override {
    note("step");
    entered.release();
    gate.acquire();
    if (failures.exchange(std::max(failures - 1, 0)) > 0) throw std::runtime_error("no step");
    for (const LaneCallRef& call : std::exchange(calls_, {}))
      events.done(call->call.key, Verdict{});
  }
  bool cancel(const Key& call) override {
    std::erase_if(calls_, [&](const LaneCallRef& known) { return known->call.key == call; });
    return true;
  }
  void prepare(const EncodedText& text) override {
    note("prepare " + std::to_string(text.ids.front()));
    prepared.release();
  }
  std::vector<std::string> told() {
    const std::lock_guard lock(mutex_);
    return std::exchange(told_, {});
  }
  std::counting_semaphore<> entered{0};
  std::counting_semaphore<> gate{0};
  std::counting_semaphore<> prepared{0};
  std::atomic<int> failures = 0;

 private:
  void note(std::string text) {
    const std::lock_guard lock(mutex_);
    told_.push_back(std::move(text));
  }
  std::vector<LaneCallRef> calls_;
  std::mutex mutex_;
  std::vector<std::string> told_;
};

// A critic's lane over that model, without a driver; what it reports, in words.
class Alone final : public LaneEvents {
 public:
  Alone() {
    images.put(Key{9, 9}, {1, 1, {1, 2, 3}});
    auto made = std::make_unique<GatedModel>();
    model = made.get();
    lane = std::make_unique<ModelLane>(LaneInfo{1, Role::kCritic, 0, "", "lane"}, std::move(made),
                                       *this, images, texts);
  }
  Key start(const std::string& prompt, bool speculative = false) {
    Call call;
    call.role = Role::kCritic;
    call.prompt = prompt;
    call.image = Key{9, 9};
    call.key = Key{1, ++started_};
    lane->start(call, speculative);
    return call.key;
  }
  // Encodes everything that is asked for: the length of a text is its only token.
  std::vector<std::string> encode(std::size_t most = 10) {
    std::vector<std::string> served;
    for (const TextJob& job : texts.poll(std::chrono::seconds(10), most)) {
      served.push_back(job.text);
      texts.finish(job.id, {{static_cast<std::int64_t>(job.text.size())}, {}});
    }
    return served;
  }
  std::vector<std::string> reports(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) REQUIRE(reported_.try_acquire_for(20s));
    const std::lock_guard lock(mutex_);
    return std::exchange(reports_, {});
  }

  void step_closed(const Key&, int, PlanStep) override {}
  void verdict_known(const Key&, bool, double) override {}
  void done(const Key& call, CallResult) override { note("done", call.lo); }
  void failed(const Key& call, Failure failure) override { note(failure.message, call.lo); }
  void cancelled(const Key& call) override { note("cancelled", call.lo); }
  void down(LaneId lane_id, Failure) override { note("down", lane_id); }

  ImageStore images{1024};
  TextBroker texts{16};
  GatedModel* model = nullptr;
  std::unique_ptr<ModelLane> lane;

 private:
  void note(const std::string& what, std::uint64_t who) {
    {
      const std::lock_guard lock(mutex_);
      reports_.push_back(what + " " + std::to_string(who));
    }
    reported_.release();
  }
  std::uint64_t started_ = 0;
  std::mutex mutex_;
  std::vector<std::string> reports_;
  std::counting_semaphore<> reported_{0};
};

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("a model's lane: certain calls first, cancelled ones never, one end for each") {
  Alone alone;
  alone.start("first");
  alone.encode();
  alone.model->entered.acquire();  // the lane is in its step
  const Key guess = alone.start("guess", true);
  const Key doomed = alone.start("doomed");
  alone.start("unfit");
  alone.start("sure");
  alone.start("late", true);
  alone.encode();
  alone.lane->cancel(doomed);
  alone.model->gate.release(3);
  CHECK(alone.reports(6) ==
        Words{"done 1", "cancelled 3", "it does not fit 4", "done 5", "done 2", "done 6"});
  CHECK(alone.model->told() == Words{"admit first", "step", "admit unfit", "admit sure", "step",
                                     "admit guess", "admit late", "step"});
  alone.lane->cancel(guess);  // too late: nothing more is said
  alone.lane.reset();
  CHECK(alone.reports(0).empty());
}

TEST_CASE(
    "a model's lane: a failed run ends what it ran, two in a row the lane; its end, the rest") {
  Alone alone;
  alone.model->failures = 1;
  alone.model->gate.release(4);
  for (const char* end : {"[lane] no step 1", "done 2"}) {
    alone.start(end);
    alone.encode();
    CHECK(alone.reports(1) == Words{end});
  }
  alone.model->failures = 2;
  for (const Words& ends : {Words{"[lane] no step 3"}, Words{"[lane] no step 4", "down 1"}}) {
    alone.start(ends.front());
    alone.encode();
    CHECK(alone.reports(ends.size()) == ends);
  }
  alone.start("three");  // its text never comes
  alone.lane.reset();
  CHECK(alone.reports(1) == Words{"cancelled 5"});
}

TEST_CASE("a model's lane: a prompt told ahead waits behind those that are needed") {
  Alone alone;
  Prefetch prefetch;
  prefetch.text = "perhaps";
  alone.lane->prefetch(prefetch);
  alone.start("now");
  CHECK(alone.encode(1) == Words{"now"});
  alone.model->entered.acquire();
  CHECK(alone.encode(1) == Words{"perhaps"});  // ready, but the lane has better things to do
  alone.model->gate.release();
  CHECK(alone.reports(1) == Words{"done 1"});
  REQUIRE(alone.model->prepared.try_acquire_for(20s));
  CHECK(alone.model->told() == Words{"admit now", "step", "prepare 7"});
}

TEST_CASE("prompts are told ahead where the request asks for it; who reads no texts ignores them") {
  for (const bool ahead : {false, true}) {
    std::atomic<int> prompts = 0;
    Driver driver({});
    for (const Role role : {Role::kPlanner, Role::kGenerator, Role::kCritic}) {
      const std::shared_ptr<Lane> inner =
          make_scripted_lane({driver.next_lane_id(), role, 0, "", "lane"}, quick_config(), driver);
      auto lane = std::make_unique<TestLane>(inner->info());
      lane->on_start = [inner](const Call& call, bool ahead_of) { inner->start(call, ahead_of); };
      lane->on_cancel = [inner](const Key& call) { inner->cancel(call); };
      lane->on_prefetch = [inner, role, &prompts](const Prefetch& told) {
        const bool counts = role == Role::kGenerator && told.what == Prefetch::What::kPromptText;
        prompts += counts ? 1 : 0;
        inner->prefetch(told);
      };
      driver.add_lane(std::move(lane));
    }
    RequestSpec spec = spec_of("three prompts");
    spec.optimizations.encode_text_ahead = ahead;
    CHECK(read_all(driver, driver.submit(spec)).outcome == Outcome::kFinished);
    CHECK((prompts > 0) == ahead);
    CHECK(driver.text().poll(std::chrono::milliseconds(0), 10).empty());
  }
}

TEST_CASE("while a lane is busy with a command, nobody else waits and the order is kept") {
  std::binary_semaphore entered{0};
  std::binary_semaphore gate{0};
  std::mutex mutex;
  std::vector<std::string> told;
  std::unordered_map<Key, std::string> names;
  const auto so_far = [&] {
    const std::lock_guard lock(mutex);
    return told;
  };
  Driver driver({});
  LaneEvents& events = driver;
  auto lane =
      std::make_unique<TestLane>(LaneInfo{driver.next_lane_id(), Role::kPlanner, 4, "", "gate"});
  lane->on_start = [&](const Call& call, bool) {  // the first one blocks until it is let go
    {
      const std::lock_guard lock(mutex);
      told.push_back("start " + call.prompt);
      names[call.key] = call.prompt;
    }
    if (so_far().size() > 1) return;
    entered.release();
    gate.acquire();
  };
  lane->on_cancel = [&](const Key& call) {
    {
      const std::lock_guard lock(mutex);
      told.push_back("cancel " + names[call]);
    }
    events.cancelled(call);
  };
  driver.add_lane(std::move(lane));
  std::jthread first([&driver] { static_cast<void>(driver.submit(spec_of("one"))); });
  entered.acquire();
  // The thread of "one" is inside the lane: these return all the same.
  const RequestId two = driver.submit(spec_of("two"));
  driver.cancel(two);
  const RequestId three = driver.submit(spec_of("three"));
  driver.cancel(three);
  CHECK(read_all(driver, two).outcome == Outcome::kCancelled);
  CHECK(so_far() == Words{"start one"});
  gate.release();
  first.join();
  CHECK(so_far() == Words{"start one", "start two", "cancel two", "start three", "cancel three"});
  driver.forget(two);
  driver.forget(three);
  CHECK(driver.counters().running == 1);
}
