// The simulator: loads in, records out. Python draws the work and computes the figures.
#include <nanobind/nanobind.h>

#include <string>
#include <utility>
#include <vector>

#include "bind/values.h"
#include "sim/workload.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {

template <>
inline constexpr auto kNames<SimVerdict> = std::array{"refused", "accepted", "unreadable"};
template <>
struct Fields<SimAttempt> {
  using S = SimAttempt;
  static constexpr auto kRows = fields<&S::generate, &S::verdict, &S::judge, &S::says>();
};
template <>
struct Fields<SimTask> {
  using S = SimTask;
  static constexpr const char* kName = "SimTask";
  static constexpr auto kRows = fields<&S::plan, &S::closes, &S::steps, &S::t_max>();
};
template <>
struct Fields<SimLane> {
  using S = SimLane;
  using I = LaneInfo;
  static constexpr auto kRows =
      join(fields<&S::batching, &S::machine>(),
           At<&S::info>::fields<&I::role, &I::capacity, &I::device>(),
           std::array{row<&S::cancel_delay>("cancel_us"), row<&S::warm_saving>("warm_us")});
};
template <>
struct Fields<LoadConfig> {
  using S = LoadConfig;
  using C = SchedulerConfig;
  using O = Optimizations;
  using P = PolicyConfig;
  static constexpr const char* kName = "simulate_load";
  static constexpr auto kScheduler = &SimConfig::scheduler;
  static constexpr auto kRows =
      join(fields<&S::lanes, &S::judge_last, &S::cancel_parts, &S::concurrency, &S::arrivals>(),
           At<&S::optimizations>::fields<&O::stream_plan, &O::early_verdict, &O::skip_last_judge>(),
           At<&S::sim>::fields<&SimConfig::seed, &SimConfig::rates>(),
           At<&S::sim, kScheduler>::fields<&C::max_live, &C::max_queued>(),
           At<&S::sim, kScheduler, &C::policy>::fields<&P::critic_slowdown, &P::generator_rate>(),
           std::array{row<&S::speculation, &Speculation::mode>("speculation"),
                      row<&S::speculation, &Speculation::depth>("depth"),
                      row<&S::sim, &SimConfig::reader_delay>("reader_us"),
                      row<&S::submit_delay>("submit_us")});
};
// Times in microseconds of virtual time.
template <>
struct Fields<LoadCall> {
  using S = LoadCall;
  static constexpr auto kRows = join(
      fields<&S::task, &S::role, &S::step, &S::attempt, &S::speculative, &S::cancelled, &S::used>(),
      std::array{row<&S::started>("started_us"), row<&S::ended>("ended_us"),
                 row<&S::cancel>("cancel_us")});
};
template <>
struct Fields<LoadRequest> {
  using S = LoadRequest;
  static constexpr auto kRows =
      join(fields<&S::refused, &S::attempts, &S::steps>(),
           std::array{row<&S::submitted>("submitted_us"), row<&S::ended>("ended_us"),
                      row<&S::images>("images_us")});
};
template <>
struct Fields<LoadReport> {
  using S = LoadReport;
  static constexpr auto kRows =
      join(fields<&S::requests, &S::calls, &S::events, &S::complete>(),
           At<&S::counters>::fields<&Counters::judged, &Counters::accepted>(),
           std::array{row<&S::ended>("ended_us")});
};

void bind_simulate(nb::module_& m) {
  m.def(
      "simulate_load",
      [](const Dict& load, const Dicts& tasks) {
        auto config = struct_of<LoadConfig>(load);
        for (std::size_t i = 0; i < config.lanes.size(); ++i) {
          config.lanes[i].info.id = static_cast<LaneId>(i + 1);
        }
        std::vector<SimTask> made;
        for (const nb::handle task : tasks) made.push_back(struct_of<SimTask>(task));
        return dict_of(unlocked([&] { return simulate_load(config, made); }));
      },
      "load"_a, "tasks"_a, "What becomes of simulated requests; work and times in microseconds.");
}

}  // namespace irt
