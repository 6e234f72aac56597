// Lanes whose models throw, and lanes that find no memory: every callback and every allocation of a
// lane's thread, the driver's books included, while requests are under way. Nothing aborts, every
// request ends once with a prefix of the sequential loop's result, and the lanes come back.
// IRT_FAULTS (engines), IRT_SEED (of the first one).
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>

#include "engine/model_lane.h"
#include "engine/storm.h"

namespace {

// One allocation in so many fails on threads of models; 0: none.
std::atomic<std::uint32_t> g_rarity = 0;
std::atomic<std::uint64_t> g_denied = 0;
thread_local std::uint64_t t_dice = 0;  // 0: not a model's thread

bool denied() {
  const std::uint32_t rarity = g_rarity.load(std::memory_order_relaxed);
  if (rarity == 0 || t_dice == 0) return false;
  t_dice ^= t_dice << 13;
  t_dice ^= t_dice >> 7;
  t_dice ^= t_dice << 17;
  if (t_dice % rarity != 0) return false;
  ++g_denied;
  return true;
}

}  // namespace

#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // they are a pair
void* operator new(std::size_t size) {
  if (denied()) throw std::bad_alloc();
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {  // of sorts
  return denied() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

using namespace irt;
using namespace irt::test;
using namespace std::chrono_literals;

namespace {

// What the models of one engine do wrong.
struct Mischief {
  std::atomic<double> throwing = 0.0;  // of the callbacks
  std::atomic<bool> texts = false;
  std::array<std::atomic<int>, 4> thrown{};  // by callback
};
enum class Where { kAdmit, kStep, kCancel, kPrepare };

class Mischievous final : public RoleModel {
 public:
  Mischievous(std::unique_ptr<RoleModel> model, Mischief& mischief, std::uint64_t seed)
      : model_(std::move(model)), mischief_(mischief), random_(seed) {}
  int capacity() const noexcept override { return model_->capacity(); }
  bool reads_texts() const noexcept override { return mischief_.texts; }
  void admit(const LaneCallRef& call) override {
    arm();
    perhaps(Where::kAdmit);
    model_->admit(call);
    perhaps(Where::kAdmit);
  }
  void step(LaneEvents& events) override {
    arm();
    perhaps(Where::kStep);
    model_->step(events);
    perhaps(Where::kStep);
  }
  bool cancel(const LaneCall& call) override {
    arm();
    perhaps(Where::kCancel);
    return model_->cancel(call);
  }
  Clock::time_point next_step_at() const override { return model_->next_step_at(); }
  void prepare(const EncodedText&) override { perhaps(Where::kPrepare); }
  void prepare(const ImageRef&) override { perhaps(Where::kPrepare); }

 private:
  void arm() {
    if (t_dice == 0) t_dice = random_.seed() | 1;
  }
  void perhaps(Where where) {
    if (!random_.chance(mischief_.throwing / 2)) return;
    ++mischief_.thrown[static_cast<std::size_t>(where)];
    switch (random_.between(0, 4)) {
      case 0: throw std::runtime_error("planted");
      case 1: throw 42;
      case 2: throw std::bad_alloc();
      case 3: throw OutOfMemory("planted");
      default: throw Error(ErrorCode::kBackendFailed, "planted");
    }
  }

  std::unique_ptr<RoleModel> model_;
  Mischief& mischief_;
  Random random_;
};

struct Totals {
  std::array<int, 4> ends{};
  std::array<int, 4> thrown{};
  std::uint64_t begun_anew = 0;
  int downs = 0;
  std::uint64_t denied = 0;
};

// One engine under `throwing` and `rarity`, then without them. Returns what was broken.
std::string fault_storm(std::uint64_t seed, double throwing, std::uint32_t rarity, Totals& totals) {
  Random random(seed);
  Mischief mischief;
  mischief.texts = random.chance(0.5);
  ScriptedConfig config = quick_config();
  config.script.seed = random.seed();
  config.script.accept = 0.5;
  config.planner_slots = random.between(1, 4);
  config.generator_slots = random.between(1, 4);
  config.critic_slots = random.between(1, 4);
  Driver driver({});
  std::optional<TextWorker> worker;
  if (mischief.texts) worker.emplace(driver);
  for (const Role role : {Role::kPlanner, Role::kGenerator, Role::kCritic}) {
    auto model =
        std::make_unique<Mischievous>(make_scripted_model(role, config), mischief, random.seed());
    const LaneInfo info{driver.next_lane_id(), role, 0, name_of(role), name_of(role)};
    driver.add_lane(std::make_shared<ModelLane>(info, std::move(model), driver, driver.text()));
  }
  mischief.throwing = throwing;
  g_rarity = rarity;
  std::vector<RequestSpec> specs;
  std::vector<RequestId> requests;
  for (int i = 0; i < 6; ++i) {
    specs.push_back(random_spec(random));
    requests.push_back(driver.submit(specs.back()));
  }
  std::jthread canceller([&driver, doomed = requests[2], us = random.between(0, 4'000)] {
    std::this_thread::sleep_for(std::chrono::microseconds(us));
    driver.cancel(doomed);
  });
  std::string fault;
  const auto expect = [&](bool holds, const std::string& what) {
    if (!holds && fault.empty()) fault = what;
  };
  const auto judge = [&](RequestId request, const RequestSpec& spec) {
    const std::string who = "request " + std::to_string(request) + ": ";
    const Seen seen = read_all(driver, request);
    const Expected whole = run_reference(config.script, spec, {}, false);
    expect(seen.disorder.empty(), who + seen.disorder);
    expect(is_prefix(seen.steps, whole.steps), who + "no prefix of the loop's result");
    if (seen.outcome == Outcome::kFinished) {
      expect(seen.steps == whole.steps, who + "finished otherwise than the loop");
    } else {
      const Outcome early = request == requests[2] ? Outcome::kCancelled : Outcome::kFailed;
      expect((seen.outcome == early || seen.outcome == Outcome::kFailed) && seen.failure,
             who + "ended for another reason");
    }
    ++totals.ends[static_cast<std::size_t>(seen.outcome)];
    driver.forget(request);
    return seen.outcome == Outcome::kFinished || !whole.finished;
  };
  for (std::size_t i = 0; i < specs.size(); ++i) judge(requests[i], specs[i]);
  mischief.throwing = 0.0;
  g_rarity = 0;
  // Whatever is down now comes up, and then all is as if nothing had been.
  const auto patience = std::chrono::steady_clock::now() + 30s;
  const auto all_up = [&driver] { return std::ranges::all_of(driver.lanes(), &LaneState::up); };
  while (!all_up() && std::chrono::steady_clock::now() < patience) std::this_thread::sleep_for(1ms);
  expect(all_up(), "a lane does not come back");
  const RequestSpec after = random_spec(random);
  // A thread may just be about to say that it had no memory.
  expect(judge(driver.submit(after), after) || judge(driver.submit(after), after),
         "a request fails when nothing is wrong any more");
  expect(settles(driver), "calls run on without a request");
  const std::string rest = left_behind(driver);
  expect(rest.empty(), rest);
  for (std::size_t i = 0; i < 4; ++i) totals.thrown[i] += mischief.thrown[i];
  for (const LaneState& lane : driver.lanes()) totals.downs += lane.times_down;
  totals.begun_anew += driver.counters().begun_anew;
  return fault;
}

Totals storms(double throwing, std::uint32_t rarity) {
  const int engines = static_cast<int>(setting("IRT_FAULTS", 25));
  const std::uint64_t first = setting("IRT_SEED", 60'000);
  Totals totals;
  g_denied = 0;
  for (int i = 0; i < engines; ++i) {
    const std::uint64_t seed = first + static_cast<std::uint64_t>(i);
    const std::string fault = fault_storm(seed, throwing, rarity, totals);
    if (!fault.empty()) FAIL_CHECK(fault << "\n  seed " << seed << " (repeat it: threads decide)");
  }
  totals.denied = g_denied;
  MESSAGE(engines << " engines: " << totals.ends[0] << " requests finished, " << totals.ends[1]
                  << " failed; thrown by admit " << totals.thrown[0] << ", step "
                  << totals.thrown[1] << ", cancel " << totals.thrown[2] << ", prepare "
                  << totals.thrown[3] << "; lanes down " << totals.downs << " times; "
                  << totals.denied << " allocations denied, books begun anew " << totals.begun_anew
                  << " times");
  return totals;
}

}  // namespace

TEST_CASE("whatever a model throws, its lane goes on and its neighbours are not hurt") {
  const Totals totals = storms(0.02, 0);
  CHECK(totals.ends[0] > 0);
  CHECK(totals.ends[1] > 0);
  CHECK(totals.thrown[0] > 0);
  CHECK(totals.thrown[1] > 0);
}

TEST_CASE("whichever allocation of a lane's thread fails, every request ends once") {
  // The last ones in models that throw as well.
  for (const auto& [throwing, rarity] : {std::pair{0.0, 2000U}, {0.0, 300U}, {0.02, 300U}}) {
    const Totals totals = storms(throwing, rarity);
    CHECK(totals.ends[0] + totals.ends[1] > 0);
    CHECK(totals.denied > 0);
  }
}
