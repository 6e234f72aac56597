#include "engine/storm.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "engine/outside.h"

namespace irt::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds kPatience = std::chrono::seconds(60);

void pause(Random& random, int longest_us) {
  std::this_thread::sleep_for(microseconds(random.between(0, longest_us)));
}

ScriptedConfig config_for(Weather weather, Random& random) {
  ScriptedConfig config = random_config(random);
  if (weather == Weather::kFailing) config.script.failing = 0.1;
  if (weather != Weather::kStorm) return config;
  ScriptedTimes& times = config.times;
  times.planner_ms *= 0.3;
  times.first_step_ms *= 0.3;
  times.generator_ms *= 0.3;
  times.critic_ms *= 0.3;
  times.verdict_ms *= 0.3;
  if (random.chance(0.2)) config.script.failing = 0.05;
  return config;
}

struct Client {
  RequestId request = 0;
  RequestSpec spec;
  std::vector<std::uint64_t> inputs;
  bool slow = false;
  bool cancelled = false;  // the main thread said so
  std::atomic<bool> forgotten = false;
  Seen seen;
};

class Storm {
 public:
  Storm(Weather weather, std::uint64_t seed, StormTotals& totals)
      : stormy_(weather == Weather::kStorm),
        random_(seed),
        totals_(totals),
        config_(config_for(weather, random_)),
        driver_(limits(random_)) {
    const int mix = stormy_ ? random_.between(0, 3) : 0;  // 2: some lanes from outside; 3: all
    for (int sets = mix == 3 ? 0 : random_.between(1, 2); sets > 0; --sets) {
      ids_.push_back(add_scripted_lanes(driver_, config_));
    }
    if (mix >= 2) add_outside(mix == 3);
  }

  std::string run() {
    clients_ = std::vector<Client>(static_cast<std::size_t>(stormy_ ? random_.between(2, 5) : 8));
    for (Client& client : clients_) submit(client);
    std::vector<std::jthread> readers;
    for (Client& client : clients_) {
      readers.emplace_back([this, &client, seed = random_.seed()] { read(client, seed); });
    }
    if (stormy_) trouble();
    readers.clear();
    for (const Client& client : clients_) judge(client);
    judge_rest();
    return std::move(fault_);
  }

 private:
  void add_outside(bool all) {
    OutsideConfig config;
    config.script = config_.script;
    config.script.failing = 0.0;
    config.lease = random_.between(5, 20) * 1'000;
    config.capacity = random_.between(1, 3);
    config.threads = random_.between(1, 3);
    if (random_.chance(0.7)) {
      misdeeds_ = true;
      config.misdeeds = {0.02, 0.02, 0.02, 0.1, 0.1, 0.5};
    }
    for (const Role role : {Role::kPlanner, Role::kGenerator, Role::kCritic}) {
      if (!all && random_.chance(0.5)) continue;
      outside_.push_back(std::make_unique<OutsideLane>(driver_, role, config, random_.seed()));
    }
    totals_.outside += outside_.empty() ? 0 : 1;
  }

  static DriverConfig limits(Random& random) {
    DriverConfig config;
    config.scheduler.max_live = random.between(1, 6);
    config.scheduler.max_queued = 64;
    config.scheduler.lane_grace = 3'000;
    return config;
  }

  void expect(bool holds, const std::string& what) {
    if (!holds && fault_.empty()) fault_ = what;
  }

  void submit(Client& client) {
    client.spec = random_spec(random_);
    client.slow = random_.chance(0.3);
    if (stormy_ && random_.chance(0.2)) {
      client.spec.deadline = driver_.now() + random_.between(100, 6'000);
    }
    std::vector<Key> put;
    if (random_.chance(0.3)) {
      client.spec.mode = PlanMode::kGuidance;
      for (int n = random_.between(1, 3); n > 0; --n) {
        PixelBuffer image = random_image(random_);
        client.inputs.push_back(hash_pixels(image.view()));
        put.push_back(driver_.put_image(std::move(image)));
      }
      client.spec.images = put;
      if (random_.chance(0.3)) {  // the same picture twice
        client.spec.images.push_back(put.front());
        client.inputs.push_back(client.inputs.front());
      }
    }
    client.request = driver_.submit(client.spec);
    for (const Key& key : put) driver_.release_image(key);
  }

  void read(Client& client, std::uint64_t seed) {
    Random random(seed);
    try {
      if (client.slow) pause(random, 2'000);
      client.seen = read_all(driver_, client.request, kPatience, [&] {
        if (client.slow) pause(random, 300);
      });
    } catch (const Error& error) {
      client.seen.disorder = error.what();  // right only for one that was forgotten
    }
  }

  void trouble() {
    for (int turns = random_.between(0, 4); turns > 0; --turns) {
      pause(random_, 1'500);
      Client& client = clients_[static_cast<std::size_t>(
          random_.between(0, static_cast<int>(clients_.size()) - 1))];
      switch (random_.between(0, 5)) {
        case 0:
          if (!ids_.empty()) lose_a_lane();
          break;
        case 1:
          client.forgotten = true;
          driver_.forget(client.request);
          break;
        case 2: (void)driver_.counters(); break;
        default: client.cancelled = true; driver_.cancel(client.request);
      }
    }
    if (!random_.chance(0.15)) return;
    pause(random_, 2'000);
    closed_ = true;
    ++totals_.closed;
    driver_.close();
  }

  void lose_a_lane() {
    const ScriptedIds& ids =
        ids_[static_cast<std::size_t>(random_.between(0, static_cast<int>(ids_.size()) - 1))];
    const LaneId lanes[] = {ids.planner, ids.generator, ids.critic};
    driver_.down(lanes[random_.between(0, 2)], {ErrorCode::kBackendFailed, "the test ends it"});
    lane_lost_ = true;
    ++totals_.lanes_lost;
  }

  void judge(const Client& client) {
    ++totals_.requests;
    if (client.forgotten) {
      ++totals_.forgotten;
      return;
    }
    const Seen& seen = client.seen;
    const std::string who = "request " + std::to_string(client.request) + ": ";
    expect(seen.disorder.empty(), who + seen.disorder);
    ++totals_.ends[static_cast<std::size_t>(seen.outcome)];
    const Script& script = config_.script;
    const Expected whole = run_reference(script, client.spec, client.inputs, false);
    expect(is_prefix(seen.steps, whole.steps), who + "no prefix of the sequential loop's result");
    if (seen.outcome == Outcome::kFinished) {
      expect(whole.finished && seen.steps == whole.steps && seen.truncated == whole.truncated,
             who + "finished otherwise than the sequential loop");
    }
    const bool late = client.spec.deadline != kNever;
    expect(seen.outcome != Outcome::kCancelled || client.cancelled || closed_,
           who + "cancelled, but nobody asked for it");
    expect(seen.outcome != Outcome::kDeadline || (late && driver_.now() >= client.spec.deadline &&
                                                  seen.failure->code == ErrorCode::kDeadline),
           who + "ended by a deadline that it has not");
    // Which lane has a failing call is a matter of chance: only the scripted ones fail it.
    // A busy machine may keep a worker from its lease.
    const bool lost = std::ranges::any_of(
        outside_, [](const auto& lane) { return lane->counters().lease_ended > 0; });
    const bool chance = misdeeds_ || lost || (!outside_.empty() && script.failing > 0.0);
    if (!client.cancelled && !closed_ && !late && !lane_lost_ && !chance) {
      const Expected cut = run_reference(script, client.spec, client.inputs, true);
      expect((seen.outcome == Outcome::kFinished) == cut.finished,
             who + "ended as " + std::to_string(static_cast<int>(seen.outcome)));
      // A call may be certain, and fail, while the accepted step before it is still open.
      expect(cut.plan_fails ||
                 (is_prefix(seen.steps, cut.steps) && seen.steps.size() + 1 >= cut.steps.size()),
             who + "no prefix of what comes before the call that fails");
      expect(seen.outcome != Outcome::kFailed ||
                 (seen.failure && seen.failure->code == ErrorCode::kBackendFailed),
             who + "failed for another reason");
    }
    try {
      (void)driver_.next_event(client.request, milliseconds(0));
      expect(false, who + "said something after its end");
    } catch (const Error& error) {
      expect(error.code() == ErrorCode::kBadRequest, who + error.what());
    }
  }

  void judge_rest() {
    expect(settles(driver_), "calls run on without a request");
    for (const Client& client : clients_) driver_.forget(client.request);
    const std::string rest = left_behind(driver_);
    expect(rest.empty(), rest);
    const DriverCounters left = driver_.counters();
    const auto& ended = left.scheduler.requests_ended;
    expect(std::accumulate(ended.begin(), ended.end(), std::uint64_t{0}) == clients_.size(),
           "a request did not end, or ended twice");
    for (const auto& lane : outside_) {
      const ExternalCounters counters = lane->counters();
      totals_.handed_out += counters.handed_out;
      totals_.leases += counters.lease_ended;
      totals_.strays += counters.strays;
      expect(misdeeds_ || counters.lease_ended > 0 || counters.strays == 0,
             "a stray answer without a misdeed");
    }
    if (!closed_ && !lane_lost_) {
      expect(left.stray_reports == 0, "a lane reported a call that had ended");
      expect(stormy_ || left.scheduler.strays == 0, "the scheduler knew nothing of a report");
    }
  }

  bool stormy_;
  Random random_;
  StormTotals& totals_;
  ScriptedConfig config_;
  Driver driver_;
  std::vector<ScriptedIds> ids_;
  std::vector<std::unique_ptr<OutsideLane>> outside_;
  std::vector<Client> clients_;
  std::string fault_;
  bool lane_lost_ = false;
  bool misdeeds_ = false;
  bool closed_ = false;
};

}  // namespace

void StormTotals::add(const StormTotals& other) {
  requests += other.requests;
  for (std::size_t i = 0; i < ends.size(); ++i) ends[i] += other.ends[i];
  forgotten += other.forgotten;
  closed += other.closed;
  lanes_lost += other.lanes_lost;
  outside += other.outside;
  handed_out += other.handed_out;
  leases += other.leases;
  strays += other.strays;
}

std::string storm(Weather weather, std::uint64_t seed, StormTotals& totals) {
  try {
    return Storm(weather, seed, totals).run();
  } catch (const std::exception& error) {
    return error.what();
  }
}

std::vector<std::string> in_parallel(int count, int jobs,
                                     const std::function<std::string(int)>& body) {
  constexpr std::size_t kMost = 10;
  std::atomic<int> next = 0;
  std::mutex mutex;
  std::vector<std::string> faults;
  std::vector<std::jthread> threads;
  for (int job = 0; job < jobs; ++job) {
    threads.emplace_back([&] {
      for (int i = next++; i < count; i = next++) {
        std::string fault = body(i);
        if (fault.empty()) continue;
        const std::lock_guard lock(mutex);
        faults.push_back(std::move(fault));
        if (faults.size() >= kMost) next = count;
      }
    });
  }
  threads.clear();
  return faults;
}

std::uint64_t setting(const char* name, std::uint64_t usual) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::strtoull(value, nullptr, 10) : usual;
}

TextWorker::TextWorker(Driver& driver, std::function<EncodedText(const TextJob&)> encode)
    : thread_([&driver, encode = std::move(encode)](const std::stop_token& stop) {
        while (!stop.stop_requested() && !driver.text().closed()) {
          for (const TextJob& job : driver.text().poll(milliseconds(5), 4)) {
            driver.text().finish(job.id, encode ? encode(job) : EncodedText{{1, 2, 3}, {1, 1, 1}});
          }
        }
      }) {}

ClientTotals run_client(Driver& driver, const ClientConfig& config,
                        const std::function<bool()>& enough) {
  struct Mine {
    RequestId request = 0;
    RequestSpec spec;
    std::chrono::steady_clock::time_point cancel_at;
    bool finish = false;
  };
  const auto now = [] { return std::chrono::steady_clock::now(); };
  Random random(config.seed);
  ClientTotals totals;
  std::vector<Mine> mine;
  const auto end_one = [&](const Mine& one) {
    if (!one.finish) driver.cancel(one.request);
    if (one.finish || !random.chance(config.forget_unread)) {
      const Seen seen = read_all(driver, one.request, kPatience);
      ++totals.ends[static_cast<std::size_t>(seen.outcome)];
      std::string fault = seen.disorder;
      if (fault.empty() && seen.outcome == Outcome::kFinished && config.script) {
        const Expected expected = run_reference(*config.script, one.spec, {}, false);
        if (seen.steps != expected.steps) fault = "not the sequential loop's result";
      }
      if (totals.fault.empty() && !fault.empty()) {
        totals.fault = "request " + std::to_string(one.request) + ": " + fault;
      }
    }
    driver.forget(one.request);
  };
  while (!enough()) {
    while (static_cast<int>(mine.size()) < config.window) {
      Mine one;
      one.spec = random_spec(random);
      one.finish = random.chance(config.finish);
      one.cancel_at = now() + microseconds(random.between(0, config.longest_us));
      try {
        one.request = driver.submit(one.spec);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kOverloaded) throw;
        ++totals.refused;
        break;
      }
      ++totals.requests;
      mine.push_back(std::move(one));
    }
    if (mine.empty()) continue;
    auto first = std::min_element(mine.begin(), mine.end(), [](const Mine& a, const Mine& b) {
      return a.cancel_at < b.cancel_at;
    });
    // Wait for the oldest only: who waits for one in the queue, while requests that have ended
    // unread hold every place, waits for himself.
    if (first->finish) first = mine.begin();
    const Mine one = std::move(*first);
    mine.erase(first);
    std::this_thread::sleep_until(one.cancel_at);
    end_one(one);
  }
  for (const Mine& one : mine) end_one(one);  // oldest first
  return totals;
}

ClientTotals run_clients(Driver& driver, const ClientConfig& config, int clients,
                         const std::function<bool()>& enough) {
  std::vector<ClientTotals> each(static_cast<std::size_t>(clients));
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < each.size(); ++i) {
    threads.emplace_back([&, i] {
      ClientConfig own = config;
      own.seed += i;
      each[i] = run_client(driver, own, enough);
    });
  }
  threads.clear();
  ClientTotals all;
  for (const ClientTotals& one : each) {
    all.requests += one.requests;
    all.refused += one.refused;
    for (std::size_t i = 0; i < all.ends.size(); ++i) all.ends[i] += one.ends[i];
    if (all.fault.empty()) all.fault = one.fault;
  }
  return all;
}

}  // namespace irt::test
