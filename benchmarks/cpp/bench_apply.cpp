// Measures Scheduler::apply() in a simulated load of 64 live requests, with a fixed depth and with
// the policy `auto`, on two generator and two critic lanes of 40 slots each:
//   bench_apply [live=64] [requests=2000] [--check]
// --check: exits with 1 where p99 is above 20 us.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "script.h"

namespace {

using namespace irt;  // NOLINT(google-build-using-namespace): a program, not a header
using Clock = std::chrono::steady_clock;

// Answers calls in random order, so that nearly all of the wall time is apply().
struct Load {
  Scheduler scheduler;
  Speculation speculation;
  test::Script script;
  std::mt19937_64 random{1};
  std::vector<StartCall> running;
  std::vector<Event> pending;
  std::vector<Command> out;
  std::vector<double> micros;
  RequestId next = 0;
  TimePoint now = 0;

  Load(const SchedulerConfig& config, Speculation speculation_)
      : scheduler(config), speculation(speculation_) {}

  void apply(Event event) {
    out.clear();
    const auto begin = Clock::now();
    (void)scheduler.apply(std::move(event), now += 10, out);
    micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    for (const Command& command : out) {
      if (const auto* start = std::get_if<StartCall>(&command)) {
        running.push_back(*start);
      } else if (const auto* cancel = std::get_if<CancelCall>(&command)) {
        std::erase_if(running, [&](const StartCall& it) { return it.call.key == cancel->call; });
        pending.emplace_back(CallCancelled{cancel->call});
      } else if (const auto* told = std::get_if<Deliver>(&command)) {
        if (std::holds_alternative<RequestEnded>(told->notice)) {
          pending.emplace_back(Consumed{told->request});
        }
      }
    }
  }

  void submit() {
    RequestSpec spec;
    spec.text.assign(400, 'x');
    spec.text.append(std::to_string(next));
    spec.speculation = speculation;
    apply(Submit{next++, spec});
  }

  void turn(RequestId requests) {
    if (!pending.empty()) {
      Event event = std::move(pending.back());
      pending.pop_back();
      const bool gone = std::holds_alternative<Consumed>(event);
      apply(std::move(event));
      if (gone && next < requests) submit();
      return;
    }
    const std::size_t pick = static_cast<std::size_t>(random() % running.size());
    const StartCall start = running[pick];
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(pick));
    auto result = script.result(start.call);
    if (auto* verdict = std::get_if<Verdict>(&std::get<CallResult>(result))) {
      apply(VerdictKnown{start.call.key, verdict->accepted, verdict->p_success});
      verdict->reasoning.assign(600, 'r');
    }
    apply(CallDone{start.call.key, std::move(std::get<CallResult>(result))});
  }
};

constexpr double kMost = 20.0;  // of p99, microseconds

struct Answer {
  bool finished = false;  // every request
  bool fast = false;
};

Answer measure(const char* name, Speculation speculation, int live, RequestId requests) {
  SchedulerConfig config;
  config.max_live = live;
  Load load(config, speculation);
  load.script.plan_steps = 6;
  LaneId id = 0;
  load.apply(LaneUp{{id++, Role::kPlanner, 8, "a", "planner"}});
  for (int i = 0; i < 2; ++i) {
    load.apply(LaneUp{
        {id++, Role::kGenerator, 40, std::string("b").append(std::to_string(i)), "generator"}});
    load.apply(
        LaneUp{{id++, Role::kCritic, 40, std::string("c").append(std::to_string(i)), "critic"}});
  }
  while (load.next < static_cast<RequestId>(live)) load.submit();
  while (!load.running.empty() || !load.pending.empty()) load.turn(requests);

  std::sort(load.micros.begin(), load.micros.end());
  const auto at = [&load](double share) {
    return load
        .micros[static_cast<std::size_t>(share * static_cast<double>(load.micros.size() - 1))];
  };
  const double sum = std::accumulate(load.micros.begin(), load.micros.end(), 0.0);
  const Counters& counters = load.scheduler.counters();
  std::printf(
      "apply(), speculation %s: %zu events, %d live requests, %llu finished, %llu calls "
      "speculated\n"
      "mean %.2f us  p50 %.2f us  p90 %.2f us  p99 %.2f us  p99.9 %.2f us  max %.1f us\n",
      name, load.micros.size(), live, static_cast<unsigned long long>(counters.requests_ended[0]),
      static_cast<unsigned long long>(counters.role[1].speculated),
      sum / static_cast<double>(load.micros.size()), at(0.5), at(0.9), at(0.99), at(0.999),
      load.micros.back());
  return {counters.requests_ended[0] == requests, at(0.99) <= kMost};
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  const bool check = !words.empty() && words.back() == "--check";
  const int numbers = static_cast<int>(words.size()) - (check ? 1 : 0);
  const int live = numbers > 0 ? std::atoi(argv[1]) : 64;
  const auto requests = static_cast<RequestId>(numbers > 1 ? std::atoi(argv[2]) : 2000);
  bool good = true;
  for (const auto& [name, speculation] :
       {std::pair{"depth 2", Speculation{SpeculationMode::kDepth, 2}},
        std::pair{"auto", Speculation{SpeculationMode::kAuto, 1}}}) {
    const Answer answer = measure(name, speculation, live, requests);
    good = good && answer.finished && (answer.fast || !check);
  }
  return good ? 0 : 1;
}
