// Measures Scheduler::apply() in a simulated load of 64 live requests with speculation:
//   bench_apply [live=64] [requests=2000]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "script.h"

namespace {

using namespace irt;  // NOLINT(google-build-using-namespace): a program, not a header
using Clock = std::chrono::steady_clock;

// Answers calls in random order, so that nearly all of the wall time is apply().
struct Load {
  Scheduler scheduler;
  test::Script script;
  std::mt19937_64 random{1};
  std::vector<StartCall> running;
  std::vector<Event> pending;
  std::vector<Command> out;
  std::vector<double> micros;
  RequestId next = 0;
  TimePoint now = 0;

  explicit Load(const SchedulerConfig& config) : scheduler(config) {}

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
    spec.speculation = {SpeculationMode::kDepth, 2};
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

}  // namespace

int main(int argc, char** argv) {
  const int live = argc > 1 ? std::atoi(argv[1]) : 64;
  const auto requests = static_cast<RequestId>(argc > 2 ? std::atoi(argv[2]) : 2000);
  SchedulerConfig config;
  config.max_live = live;
  Load load(config);
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
  const Counters& counters = load.scheduler.counters();
  std::printf(
      "apply(): %zu events, %d live requests, %llu finished, %llu calls speculated\n"
      "p50 %.2f us  p90 %.2f us  p99 %.2f us  p99.9 %.2f us  max %.1f us\n",
      load.micros.size(), live, static_cast<unsigned long long>(counters.requests_ended[0]),
      static_cast<unsigned long long>(counters.role[1].speculated), at(0.5), at(0.9), at(0.99),
      at(0.999), load.micros.back());
  return counters.requests_ended[0] == requests ? 0 : 1;
}
