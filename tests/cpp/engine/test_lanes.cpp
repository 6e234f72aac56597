// What lanes may rely on, and what happens when they break their contract.
#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <semaphore>
#include <stdexcept>
#include <thread>
#include <unordered_map>

#include "engine/harness.h"

using namespace irt;
using namespace irt::test;

namespace {

// Breaks the contract in the way that it is told.
class BadLane final : public Lane {
 public:
  enum class How { kThrows, kReportsTwice, kNoImage, kStoresAndFails };
  BadLane(LaneInfo lane, Driver& driver, How how)
      : info_(std::move(lane)), events_(driver), images_(driver.images()), how_(how) {}
  const LaneInfo& info() const noexcept override { return info_; }
  void start(const Call& call, bool /*speculative*/) override {
    if (how_ == How::kThrows) throw std::runtime_error("out of luck");
    if (how_ == How::kNoImage) return events_.done(call.key, Image{call.key, 1});
    if (how_ == How::kStoresAndFails) images_.put(call.key, {1, 1, {1, 2, 3}});
    events_.failed(call.key, {ErrorCode::kBackendFailed, "first"});
    if (how_ == How::kStoresAndFails) return;
    events_.failed(call.key, {ErrorCode::kBackendFailed, "second"});
    events_.done(call.key, Image{call.key, 1});
  }
  void cancel(const Key& /*call*/) override {}

 private:
  LaneInfo info_;
  LaneEvents& events_;
  ImageStore& images_;
  How how_;
};

}  // namespace

TEST_CASE("a lane that breaks its contract fails the request and nothing else") {
  using How = BadLane::How;
  for (const auto& [how, text] : {std::pair{How::kThrows, "out of luck"},
                                  {How::kReportsTwice, "first"},
                                  {How::kNoImage, "not stored"},
                                  {How::kStoresAndFails, "first"}}) {
    Driver driver({});
    ScriptedConfig config = quick_config();
    const auto add = [&](Role role, const char* name) {
      driver.add_lane(
          make_scripted_lane({driver.next_lane_id(), role, 0, name, name}, config, driver));
    };
    add(Role::kPlanner, "planner");
    add(Role::kCritic, "critic");
    driver.add_lane(std::make_unique<BadLane>(
        LaneInfo{driver.next_lane_id(), Role::kGenerator, 1, "bad", "bad"}, driver, how));
    const RequestId request = driver.submit(spec_of("bad luck"));
    const Seen seen = read_all(driver, request);
    CHECK(seen.outcome == Outcome::kFailed);
    REQUIRE(seen.failure);
    CHECK(seen.failure->code == ErrorCode::kBackendFailed);
    CHECK(seen.failure->message.find(text) != std::string::npos);
    CHECK(settles(driver));
    CHECK((driver.counters().stray_reports > 0) == (how == How::kReportsTwice));
    driver.forget(request);
    CHECK(driver.counters().images == 0);
  }
}

namespace {

// Counts the prompts that it is told of ahead.
class HintedLane final : public Lane {
 public:
  explicit HintedLane(std::unique_ptr<Lane> inner) : inner_(std::move(inner)) {}
  const LaneInfo& info() const noexcept override { return inner_->info(); }
  void start(const Call& call, bool speculative) override { inner_->start(call, speculative); }
  void cancel(const Key& call) override { inner_->cancel(call); }
  void hint(const Hint& hint) override {
    if (hint.what == Hint::What::kPromptText) ++prompts;
    inner_->hint(hint);
  }
  std::atomic<int> prompts = 0;

 private:
  std::unique_ptr<Lane> inner_;
};

}  // namespace

TEST_CASE("prompts are told ahead where the request asks for it; who reads no texts ignores them") {
  for (const bool ahead : {false, true}) {
    Driver driver({});
    HintedLane* generator = nullptr;
    for (const Role role : {Role::kPlanner, Role::kGenerator, Role::kCritic}) {
      auto lane = std::make_unique<HintedLane>(
          make_scripted_lane({driver.next_lane_id(), role, 0, "", "lane"}, quick_config(), driver));
      if (role == Role::kGenerator) generator = lane.get();
      driver.add_lane(std::move(lane));
    }
    RequestSpec spec = spec_of("three prompts");
    spec.optimizations.encode_text_ahead = ahead;
    CHECK(read_all(driver, driver.submit(spec)).outcome == Outcome::kFinished);
    CHECK((generator->prompts > 0) == ahead);
    CHECK(driver.text().poll(std::chrono::milliseconds(0), 10).empty());
  }
}

namespace {

// Writes down what it is told; its first `start` blocks until it is let go.
class GateLane final : public Lane {
 public:
  GateLane(LaneInfo lane, LaneEvents& events) : info_(std::move(lane)), events_(events) {}
  const LaneInfo& info() const noexcept override { return info_; }
  void start(const Call& call, bool /*speculative*/) override {
    note("start " + call.prompt);
    if (told().size() == 1) {
      entered.release();
      gate.acquire();
    }
    const std::lock_guard lock(mutex_);
    names_[call.key] = call.prompt;
  }
  void cancel(const Key& call) override {
    std::string name = "of nothing";
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = names_.find(call); found != names_.end()) name = found->second;
    }
    note("cancel " + name);
    events_.cancelled(call);
  }
  std::vector<std::string> told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  std::binary_semaphore entered{0};
  std::binary_semaphore gate{0};

 private:
  void note(std::string text) {
    const std::lock_guard lock(mutex_);
    told_.push_back(std::move(text));
  }
  LaneInfo info_;
  LaneEvents& events_;
  std::mutex mutex_;
  std::vector<std::string> told_;
  std::unordered_map<Key, std::string> names_;
};

}  // namespace

TEST_CASE("while a lane is busy with a command, nobody else waits and the order is kept") {
  Driver driver({});
  auto made = std::make_unique<GateLane>(
      LaneInfo{driver.next_lane_id(), Role::kPlanner, 4, "", "gate"}, driver);
  GateLane& lane = *made;
  driver.add_lane(std::move(made));
  std::jthread first([&driver] { static_cast<void>(driver.submit(spec_of("one"))); });
  lane.entered.acquire();
  // The thread of "one" is inside the lane: these return all the same.
  const RequestId two = driver.submit(spec_of("two"));
  driver.cancel(two);
  const RequestId three = driver.submit(spec_of("three"));
  driver.cancel(three);
  CHECK(read_all(driver, two).outcome == Outcome::kCancelled);
  CHECK(lane.told() == std::vector<std::string>{"start one"});
  lane.gate.release();
  first.join();
  CHECK(lane.told() == std::vector<std::string>{"start one", "start two", "cancel two",
                                                "start three", "cancel three"});
  driver.forget(two);
  driver.forget(three);
  CHECK(driver.counters().running == 1);
}
