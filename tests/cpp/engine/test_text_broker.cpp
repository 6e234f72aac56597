#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "engine/harness.h"
#include "engine/text_broker.h"

using namespace irt;
using namespace irt::test;
using std::chrono::milliseconds;

namespace {

TextJob prompt(const std::string& text) {
  TextJob job;
  job.text = text;
  return job;
}

struct Answer {
  int calls = 0;
  EncodedRef encoded;
  std::optional<Failure> failure;
  TextBroker::Callback callback() {
    return [this](EncodedRef made, std::optional<Failure> why) {
      ++calls;
      encoded = std::move(made);
      failure = std::move(why);
    };
  }
};

}  // namespace

TEST_CASE("urgent jobs are polled before those made ahead, and a request overtakes its prefetch") {
  Answer a;
  Answer b;
  TextBroker broker(4);  // closes first: what still waits is told so
  broker.prefetch(prompt("ahead 1"));
  broker.prefetch(prompt("ahead 2"));
  broker.prefetch(prompt("ahead 2"));
  broker.request(prompt("now"), a.callback());
  broker.request(prompt("ahead 2"), b.callback());
  const auto jobs = broker.poll(milliseconds(0), 8);
  REQUIRE(jobs.size() == 3);
  CHECK(jobs[0].text == "now");
  CHECK(jobs[1].text == "ahead 2");
  CHECK(jobs[2].text == "ahead 1");
  CHECK(broker.poll(milliseconds(0), 8).empty());
}

TEST_CASE("one encoding serves everybody who asks, and later ones from the cache") {
  Answer a;
  Answer b;
  Answer c;
  TextBroker broker(1);
  broker.request(prompt("x"), a.callback());
  broker.request(prompt("x"), b.callback());
  const auto jobs = broker.poll(milliseconds(0), 8);
  REQUIRE(jobs.size() == 1);
  broker.finish(jobs[0].id, {{1, 2}, {1, 1}});
  broker.finish(jobs[0].id, {{3}, {}});  // a second end is ignored
  CHECK(a.calls == 1);
  CHECK(a.encoded == b.encoded);
  CHECK(a.encoded->ids == std::vector<std::int64_t>{1, 2});
  broker.request(prompt("x"), c.callback());
  CHECK(c.encoded == a.encoded);
  CHECK(broker.counters().cache_hits == 1);

  // The cache holds one entry: another text takes its place.
  broker.prefetch(prompt("y"));
  broker.finish(broker.poll(milliseconds(0), 1).at(0).id, {{9}, {}});
  broker.request(prompt("x"), c.callback());
  CHECK(c.calls == 1);
  CHECK(broker.poll(milliseconds(0), 1).size() == 1);
}

TEST_CASE("jobs differ in all that a template sees") {
  TextJob judge = prompt("used");
  judge.role = Role::kCritic;
  judge.original = "plan";
  TextJob other = judge;
  other.original = "plan 2";
  CHECK(key_of(judge) == key_of(TextJob(judge)));
  CHECK(key_of(judge) != key_of(other));
  CHECK(key_of(prompt("used")) != key_of(judge));
  TextJob plan = prompt("used");
  plan.role = Role::kPlanner;
  TextJob guided = plan;
  guided.mode = PlanMode::kGuidance;
  guided.image_count = 1;
  CHECK(key_of(plan) != key_of(guided));
}

TEST_CASE("failures and empty encodings are told") {
  Answer a;
  TextBroker broker(4);
  broker.request(prompt("a"), a.callback());
  broker.fail(broker.poll(milliseconds(0), 1).at(0).id, {ErrorCode::kBadPack, "no template"});
  CHECK(a.failure->code == ErrorCode::kBadPack);
  broker.request(prompt("a"), a.callback());  // a failure is not cached
  broker.finish(broker.poll(milliseconds(0), 1).at(0).id, {});
  CHECK(a.failure->code == ErrorCode::kBackendFailed);
  CHECK(a.calls == 2);
}

TEST_CASE("work made ahead is bounded") {
  TextBroker broker(4);
  for (int i = 0; i < 2000; ++i) broker.prefetch(prompt(std::to_string(i)));
  CHECK(broker.counters().prefetches_dropped > 0);
  CHECK(broker.poll(milliseconds(0), 4000).size() <= 1000);
}

TEST_CASE("closing ends what waits, wakes the worker and refuses the rest") {
  Answer a;
  Answer b;
  TextBroker broker(4);
  broker.request(prompt("a"), a.callback());
  CHECK(broker.poll(milliseconds(0), 1).size() == 1);
  std::jthread worker([&broker] {
    const auto begin = std::chrono::steady_clock::now();
    CHECK(broker.poll(std::chrono::seconds(30), 1).empty());
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
  });
  broker.close();
  worker.join();
  CHECK(a.failure->code == ErrorCode::kCancelled);
  broker.request(prompt("b"), b.callback());
  CHECK(b.failure->code == ErrorCode::kCancelled);
}

TEST_CASE(
    "what waits for a worker that is silent fails with its lease, what comes later is served") {
  constexpr TimePoint kLease = 10'000'000;
  TextBroker broker(4, kLease);
  Answer held;
  Answer waiting;
  Answer later;
  broker.request(prompt("held"), held.callback());
  const auto jobs = broker.poll(milliseconds(0), 1);
  broker.request(prompt("waiting"), waiting.callback());
  // The next look is never later than the lease; nothing is lost before.
  const TimePoint next = broker.expire(kLease / 2);
  CHECK(next <= 2 * kLease);
  CHECK(held.calls + waiting.calls == 0);
  broker.expire(2 * kLease + kLease / 2);
  for (const Answer* answer : {&held, &waiting}) {
    REQUIRE(answer->calls == 1);
    CHECK(answer->failure->code == ErrorCode::kBackendFailed);
    CHECK(answer->failure->message.find("worker") != std::string::npos);
  }
  CHECK(broker.counters().lost == 2);
  broker.finish(jobs.at(0).id, {{1}, {}});  // too late
  CHECK(broker.counters().strays == 1);
  CHECK(held.calls == 1);
  broker.request(prompt("later"), later.callback());
  broker.finish(broker.poll(milliseconds(0), 1).at(0).id, {{1}, {}});
  CHECK(later.encoded);
  broker.expire(1000 * kLease);  // nothing waits: nothing is lost
  CHECK(broker.counters().lost == 2);
}

TEST_CASE("many askers and workers at once: every request is answered once") {
  TextBroker broker(8);
  std::atomic<int> answered = 0;
  std::atomic<int> wrong = 0;
  constexpr int kAskers = 3;
  constexpr int kEach = 300;
  {
    std::vector<std::jthread> threads;
    for (int w = 0; w < 2; ++w) {
      threads.emplace_back([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          for (const TextJob& job : broker.poll(milliseconds(2), 3)) {
            broker.finish(job.id, {{std::stoll(job.text) + 1}, {}});
          }
        }
      });
    }
    std::vector<std::jthread> askers;
    for (int t = 0; t < kAskers; ++t) {
      askers.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          const int number = (i * 7 + t) % 40;
          broker.request(prompt(std::to_string(number)),
                         [&, number](const EncodedRef& made, const std::optional<Failure>& why) {
                           if (why || made->ids.at(0) != number + 1) ++wrong;
                           ++answered;
                         });
          if (i % 3 == 0) broker.prefetch(prompt(std::to_string((number + 5) % 40)));
        }
      });
    }
    askers.clear();
    for (int i = 0; i < 2000 && answered < kAskers * kEach; ++i) {
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
  CHECK(answered == kAskers * kEach);
  CHECK(wrong == 0);
}
