#include "engine/outside.h"

#include <utility>

namespace irt::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

class Worker {
 public:
  Worker(std::shared_ptr<ExternalLane> lane, const OutsideConfig& config, std::uint64_t seed)
      : lane_(std::move(lane)), config_(config), random_(seed) {}

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested() && !lane_->closed()) {
      for (const ExternalCall& call : lane_->poll(milliseconds(2), 1).calls) {
        if (random_.chance(config_.misdeeds.dies)) return;
        if (random_.chance(config_.misdeeds.fails)) {
          (void)lane_->fail(call.id, {ErrorCode::kBackendFailed, "the worker throws"});
          continue;
        }
        if (random_.chance(config_.misdeeds.hangs)) pause_us(3 * static_cast<int>(config_.lease));
        answer(call);
      }
    }
  }

 private:
  static std::uint64_t hash_of(const ImageRef& image) { return image ? image->hash : 0; }
  static void pause_us(int us) { std::this_thread::sleep_for(microseconds(us)); }

  // False: the call was cancelled meanwhile, and the worker heeds it.
  bool work_at(const ExternalCall& call) {
    pause_us(random_.between(0, config_.longest_us));
    (void)lane_->progress(call.id);
    return lane_->wanted(call.id) || random_.chance(config_.misdeeds.ignores_cancel);
  }

  void answer(const ExternalCall& given) {
    const Call& call = given.call->call;
    const Script& script = config_.script;
    const std::uint64_t id = given.id;
    LaneResult made;
    if (call.role == Role::kPlanner) {
      Plan plan = scripted_plan(script, call.prompt, call.mode, call.max_steps, call.seed);
      for (const PlanStep& step : plan.steps) {
        if (!work_at(given)) return give_up(id);
        (void)lane_->step_closed(id, step);
      }
      made = std::move(plan);
    } else if (call.role == Role::kGenerator) {
      if (!work_at(given)) return give_up(id);
      made = scripted_image(script, call.prompt, hash_of(given.call->images.at(0)), call.seed,
                            call.width, call.height, call.denoising_steps);
    } else {
      Verdict verdict =
          scripted_verdict(script, call.original, call.prompt, hash_of(given.call->images.at(0)),
                           hash_of(given.call->images.at(1)), call.seed);
      if (!work_at(given)) return give_up(id);
      if (verdict.readable) (void)lane_->verdict_known(id, verdict.accepted, verdict.p_success);
      made = std::move(verdict);
    }
    if (!work_at(given)) return give_up(id);
    if (random_.chance(config_.misdeeds.unknown)) {
      (void)lane_->finish(id + 1'000'000, Plan{});
      (void)lane_->step_closed(id + 1'000'000, PlanStep{});
    }
    const LaneResult again = made;
    (void)lane_->finish(id, std::move(made));
    if (random_.chance(config_.misdeeds.twice)) (void)lane_->finish(id, again);
  }

  void give_up(std::uint64_t id) { (void)lane_->cancelled(id); }

  std::shared_ptr<ExternalLane> lane_;
  OutsideConfig config_;
  Random random_;
};

}  // namespace

OutsideLane::OutsideLane(Driver& driver, Role role, const OutsideConfig& config, std::uint64_t seed)
    : lane_(add_external_lane(driver, {0, role, config.capacity, "outside", "outside"},
                              config.lease)) {
  for (int i = 0; i < config.threads; ++i) {
    threads_.emplace_back([lane = lane_, config, seed, i](const std::stop_token& stop) {
      Worker(lane, config, seed + static_cast<std::uint64_t>(i)).run(stop);
    });
  }
}

}  // namespace irt::test
