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
  void start(const LaneCallRef& call) override { on_start(call); }
  void cancel(const LaneCallRef& call) override { on_cancel(call); }
  void prefetch(const Prefetch& prefetch, const ImageRef& image) override {
    on_prefetch(prefetch, image);
  }
  void close() override {}
  std::function<void(const LaneCallRef&)> on_start;
  std::function<void(const LaneCallRef&)> on_cancel = [](const LaneCallRef&) {};
  std::function<void(const Prefetch&, const ImageRef&)> on_prefetch = [](const Prefetch&,
                                                                         const ImageRef&) {};

 private:
  LaneInfo info_;
};

}  // namespace

TEST_CASE("a lane that breaks its contract fails the request and nothing else") {
  struct Case {
    const char* text;
    bool stray;
    void (*start)(LaneEvents& events, const LaneCall& call);
  };
  const Case cases[] = {
      {"out of luck", false,
       [](LaneEvents&, const LaneCall&) { throw std::runtime_error("out of luck"); }},
      {"no std::exception", false, [](LaneEvents&, const LaneCall&) { throw 42; }},
      {"first", true,
       [](LaneEvents& events, const LaneCall& call) {
         events.failed(call, {ErrorCode::kBackendFailed, "first"});
         events.failed(call, {ErrorCode::kBackendFailed, "second"});
         events.done(call, PixelBuffer{1, 1, {1, 2, 3}});
       }},
      {"not answered with an image", false,
       [](LaneEvents& events, const LaneCall& call) { events.done(call, Plan{}); }},
      {"height x width x 3", false,
       [](LaneEvents& events, const LaneCall& call) { events.done(call, PixelBuffer{2, 2, {1}}); }},
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
    lane->on_start = [&](const LaneCallRef& call) { bad.start(driver, *call); };
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

TEST_CASE("what a lane says of a run that was lost is not taken for the run on another lane") {
  // These outlive the driver: the critic may ask for one more picture while the test ends.
  std::counting_semaphore<> started{0};
  std::vector<LaneCallRef> runs;  // read when one more has been started
  std::vector<LaneId> lanes;
  Driver driver({});
  LaneEvents& events = driver;
  for (const Role role : {Role::kPlanner, Role::kCritic}) {
    driver.add_lane(
        make_scripted_lane({driver.next_lane_id(), role, 0, "", "lane"}, quick_config(), driver));
  }
  for (int i = 0; i < 2; ++i) {
    lanes.push_back(driver.next_lane_id());
    auto lane = std::make_unique<TestLane>(LaneInfo{lanes.back(), Role::kGenerator, 1, "", "lane"});
    lane->on_start = [&](const LaneCallRef& call) {
      runs.push_back(call);
      started.release();
    };
    driver.add_lane(std::move(lane));
  }
  RequestSpec spec = spec_of("twice");
  spec.speculation.mode = SpeculationMode::kOff;
  const RequestId request = driver.submit(spec);
  REQUIRE(started.try_acquire_for(20s));
  const LaneCallRef lost = runs.back();
  driver.down(lanes.front(), {ErrorCode::kBackendFailed, "it is gone"});
  REQUIRE(started.try_acquire_for(20s));
  const LaneCallRef again = runs.back();
  REQUIRE(again->call.key == lost->call.key);
  // The plan, of which the first step is enough to start the generator, has come to its end.
  while (driver.counters().running != 1) std::this_thread::sleep_for(1ms);
  events.cancelled(*lost);
  events.failed(*lost, {ErrorCode::kBackendFailed, "too late"});
  events.done(*lost, PixelBuffer{1, 1, {9, 9, 9}});
  CHECK(driver.counters().stray_reports == 3);
  CHECK(driver.counters().running == 1);
  CHECK(driver.counters().images == 0);
  events.done(*again, PixelBuffer{1, 1, {1, 2, 3}});
  std::optional<ReaderEvent> event;
  while (!event || !event->image) event = driver.next_event(request, std::chrono::seconds(20));
  CHECK(event->image->pixels.data.front() == 1);
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
    for (const LaneCallRef& known : calls_) {
      const LaneCall* const call = known.get();
      if (call->call.prompt == alone) events.stepping({&call, 1});
    }
    entered.release();
    gate.acquire();
    if (interrupted.exchange(false)) throw Error(ErrorCode::kCancelled, "interrupted");
    if (too_many > 0 && std::ssize(calls_) >= too_many) throw std::bad_alloc();
    if (failures.exchange(std::max(failures - 1, 0)) > 0) throw std::runtime_error("no step");
    for (const LaneCallRef& call : std::exchange(calls_, {})) events.done(*call, Verdict{});
  }
  bool cancel(const LaneCall& call) override {
    std::erase_if(calls_, [&](const LaneCallRef& known) { return known.get() == &call; });
    return true;
  }
  void prepare(const EncodedText& text) override {
    note("prepare " + std::to_string(text.ids.front()));
    prepared.release();
  }
  void interrupt() noexcept override {
    ++interrupts;
    interrupted = true;
    gate.release();
  }
  std::vector<std::string> told() {
    const std::lock_guard lock(mutex_);
    return std::exchange(told_, {});
  }
  std::counting_semaphore<> entered{0};
  std::counting_semaphore<> gate{0};
  std::counting_semaphore<> prepared{0};
  std::atomic<int> failures = 0;
  std::atomic<int> too_many = 0;  // calls at once, for which there is no memory; 0: never
  std::atomic<int> interrupts = 0;
  std::atomic<bool> interrupted = false;
  std::string alone;  // the prompt of the call that steps are for; empty: of all

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
    auto made = std::make_unique<GatedModel>();
    model = made.get();
    lane = std::make_unique<ModelLane>(LaneInfo{1, Role::kCritic, 0, "", "lane"}, std::move(made),
                                       *this, texts);
  }
  LaneCallRef start(const std::string& prompt, bool speculative = false) {
    auto call = std::make_shared<LaneCall>();
    call->call.role = Role::kCritic;
    call->call.prompt = prompt;
    call->speculative = speculative;
    lane->start(call);
    return call;
  }
  // The lane is in a step of both when it returns, or of `only` one of them.
  std::pair<LaneCallRef, LaneCallRef> start_both(const char* first, const char* second,
                                                 const char* only = "") {
    start("before");
    encode();
    model->entered.acquire();
    std::pair<LaneCallRef, LaneCallRef> both{start(first), start(second)};
    encode();
    model->alone = only;
    model->gate.release();
    CHECK(reports(1) == std::vector<std::string>{"done before"});
    model->entered.acquire();
    return both;
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

  void step_closed(const LaneCall&, int, PlanStep) override {}
  void verdict_known(const LaneCall&, bool, double) override {}
  void done(const LaneCall& call, LaneResult) override { note("done", call); }
  void failed(const LaneCall& call, Failure failure) override { note(failure.message, call); }
  void cancelled(const LaneCall& call) override { note("cancelled", call); }
  void down(LaneId, Failure) override { note("down", {}); }
  void up(LaneId) override { note("up", {}); }

  TextBroker texts{16};
  GatedModel* model = nullptr;
  std::unique_ptr<ModelLane> lane;

 private:
  void note(const std::string& what, const LaneCall& call) {
    {
      const std::lock_guard lock(mutex_);
      reports_.push_back(what + " " + call.call.prompt);
    }
    reported_.release();
  }
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
  const LaneCallRef guess = alone.start("guess", true);
  const LaneCallRef doomed = alone.start("doomed");
  alone.start("unfit");
  alone.start("sure");
  alone.start("late", true);
  alone.encode();
  alone.lane->cancel(doomed);
  alone.model->gate.release(3);
  CHECK(alone.reports(6) == Words{"done first", "cancelled doomed", "it does not fit unfit",
                                  "done sure", "done guess", "done late"});
  CHECK(alone.model->told() == Words{"admit first", "step", "admit unfit", "admit sure", "step",
                                     "admit guess", "admit late", "step"});
  alone.lane->cancel(guess);  // too late: nothing more is said
  alone.lane->close();
  CHECK(alone.reports(0).empty());
}

TEST_CASE("a model's lane: a failed run ends what it ran, two in a row the lane and its queue") {
  Alone alone;
  alone.model->failures = 1;
  alone.model->gate.release(5);
  for (const char* end : {"[lane] no step a", "done b"}) {
    alone.start(std::string(1, std::string(end).back()));
    alone.encode();
    CHECK(alone.reports(1) == Words{end});
  }
  alone.model->failures = 2;
  alone.start("c");
  alone.encode();
  CHECK(alone.reports(1) == Words{"[lane] no step c"});
  alone.start("d");
  alone.encode();
  alone.start("e");
  CHECK(alone.reports(3) == Words{"[lane] no step d", "down ", "up "});
  alone.model->told();
  alone.encode();    // of "e": it has ended with the lane
  alone.start("f");  // before `revive`: likewise
  alone.encode();
  alone.lane->close();
  CHECK(alone.reports(0).empty());
  CHECK(alone.model->told().empty());
}

TEST_CASE("a model's lane: a failed run ends its own calls, want of memory none that fits alone") {
  Alone alone;
  // Of two calls in the model the run that fails was for one.
  alone.start_both("bad", "good", "bad");
  alone.model->failures = 1;
  alone.model->gate.release();
  CHECK(alone.reports(1) == Words{"[lane] no step bad"});
  alone.model->entered.acquire();
  alone.model->gate.release();
  CHECK(alone.reports(1) == Words{"done good"});
  // Both begin anew, one after the other.
  alone.model->told();
  alone.start_both("c", "d");
  alone.model->too_many = 2;
  alone.model->gate.release(3);
  CHECK(alone.reports(2) == Words{"done c", "done d"});
  CHECK(alone.model->told() == Words{"admit before", "step", "admit c", "admit d", "step",
                                     "admit c", "step", "admit d", "step"});
  // What does not fit alone fails, and says so; the lane stays up.
  alone.model->too_many = 1;
  for (int i = 0; i < 3; ++i) {
    alone.start("e");
    alone.encode();
    alone.model->gate.release();
    CHECK(alone.reports(1).front().find("not enough memory for this call alone") !=
          std::string::npos);
  }
  alone.model->too_many = 0;
  alone.start("f");
  alone.encode();
  alone.model->gate.release();
  CHECK(alone.reports(1) == Words{"done f"});
}

TEST_CASE("a model's lane: a run that nobody waits for any more is interrupted") {
  Alone alone;
  const auto [first, second] = alone.start_both("a", "b");
  alone.lane->cancel(first);
  CHECK(alone.model->interrupts == 0);  // "b" is still wanted
  alone.lane->cancel(second);
  CHECK(alone.model->interrupts == 1);
  CHECK(alone.reports(2) == Words{"cancelled a", "cancelled b"});
  alone.start("c");
  alone.encode();
  alone.model->gate.release();
  CHECK(alone.reports(1) == Words{"done c"});
}

TEST_CASE("a model's lane: it comes back after a pause, twice as long after each relapse") {
  Alone alone;
  alone.model->gate.release(10);
  alone.model->failures = 3;
  const auto fails = [&alone](const char* prompt) {
    alone.start(prompt);
    alone.encode();
  };
  fails("a");
  CHECK(alone.reports(1) == Words{"[lane] no step a"});
  fails("b");
  CHECK(alone.reports(3) == Words{"[lane] no step b", "down ", "up "});
  alone.lane->revive();
  const auto begin = std::chrono::steady_clock::now();
  fails("c");
  CHECK(alone.reports(3) == Words{"[lane] no step c", "down ", "up "});
  CHECK(std::chrono::steady_clock::now() - begin >= 2 * ModelLane::kFirstPause);
  alone.lane->revive();
  fails("d");
  CHECK(alone.reports(1) == Words{"done d"});
}

TEST_CASE("a model's lane: a prompt told ahead waits behind those that are needed") {
  Alone alone;
  Prefetch prefetch;
  prefetch.text = "perhaps";
  alone.lane->prefetch(prefetch, nullptr);
  alone.start("now");
  CHECK(alone.encode(1) == Words{"now"});
  alone.model->entered.acquire();
  CHECK(alone.encode(1) == Words{"perhaps"});  // ready, but the lane has better things to do
  alone.model->gate.release();
  CHECK(alone.reports(1) == Words{"done now"});
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
      lane->on_start = [inner](const LaneCallRef& call) { inner->start(call); };
      lane->on_cancel = [inner](const LaneCallRef& call) { inner->cancel(call); };
      lane->on_prefetch = [inner, role, &prompts](const Prefetch& told, const ImageRef& image) {
        const bool counts = role == Role::kGenerator && told.what == Prefetch::What::kPromptText;
        prompts += counts ? 1 : 0;
        inner->prefetch(told, image);
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
  const auto so_far = [&] {
    const std::lock_guard lock(mutex);
    return told;
  };
  Driver driver({});
  LaneEvents& events = driver;
  auto lane =
      std::make_unique<TestLane>(LaneInfo{driver.next_lane_id(), Role::kPlanner, 4, "", "gate"});
  lane->on_start = [&](const LaneCallRef& call) {  // the first one blocks until it is let go
    {
      const std::lock_guard lock(mutex);
      told.push_back("start " + call->call.prompt);
    }
    if (so_far().size() > 1) return;
    entered.release();
    gate.acquire();
  };
  lane->on_cancel = [&](const LaneCallRef& call) {
    {
      const std::lock_guard lock(mutex);
      told.push_back("cancel " + call->call.prompt);
    }
    events.cancelled(*call);
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
