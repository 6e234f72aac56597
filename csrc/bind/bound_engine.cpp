#include "bind/bound_engine.h"

#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "engine/model_lane.h"
#include "engine/vlm_model.h"

namespace irt {

DriverConfig BoundEngineConfig::resolved() const {
  const auto at_least = [](const char* name, double value, double least) {
    if (value >= least) return;
    throw Error(ErrorCode::kBadRequest, std::string("[EngineConfig] ") + name + " is " +
                                            std::to_string(value) + ": give at least " +
                                            std::to_string(least));
  };
  at_least("max_live", max_live, 1);
  at_least("max_queued", max_queued, 0);
  at_least("image_bytes", static_cast<double>(image_bytes), 1);
  at_least("lane_grace_s", lane_grace_s, 0);
  at_least("critic_slowdown", critic_slowdown.value_or(1.0), 1.0);
  if (const double rate = generator_rate.value_or(1.0); !(rate > 0.0 && rate <= 1.0)) {
    throw Error(ErrorCode::kBadRequest, "[EngineConfig] generator_rate is " + std::to_string(rate) +
                                            ": give a number over 0, at most 1");
  }
  DriverConfig config;
  config.scheduler.policy.critic_slowdown = critic_slowdown;
  config.scheduler.policy.generator_rate = generator_rate;
  config.scheduler.max_live = max_live;
  config.scheduler.max_queued = max_queued;
  config.scheduler.lane_grace = std::llround(std::min(lane_grace_s, 1e9) * 1e6);
  config.image_bytes = image_bytes;
  config.text_cache = text_cache;
  config.max_unforgotten = max_unforgotten;
  return config;
}

BoundEngine::BoundEngine(const BoundEngineConfig& config)
    : batching(config.batching), driver(config.resolved()) {}

BoundEngine::~BoundEngine() {
  const nb::gil_scoped_release unlocked;
  driver.close();
}

void BoundEngine::add_model(Role role, std::unique_ptr<RoleModel> model, const std::string& device,
                            const std::string& name) {
  const LaneInfo info{driver.next_lane_id(), role, model->capacity(), device, name};
  driver.add_lane(
      std::make_unique<ModelLane>(info, std::move(model), driver, driver.images(), driver.text()));
}

void BoundEngine::add_vlm(Role role, const BoundVlmConfig& config, const std::string& device,
                          const std::string& name) {
  VlmConfig resolved = config.resolved();
  if (!batching) resolved.decoder_config.slots = 1;
  add_model(role, std::make_unique<VlmModel>(resolved), device, name);
}

void BoundEngine::add_planner(const BoundVlmConfig& config, const std::string& device,
                              const std::string& name) {
  add_vlm(Role::kPlanner, config, device, name);
}

void BoundEngine::add_critic(const BoundVlmConfig& config, const std::string& device,
                             const std::string& name) {
  add_vlm(Role::kCritic, config, device, name);
}

void BoundEngine::add_generator(const ImageModelConfig& config, const std::string& device,
                                const std::string& name) {
  ImageModelConfig resolved = config;
  if (!batching) resolved.slots = resolved.generator.max_batch = 1;
  add_model(Role::kGenerator, std::make_unique<ImageModel>(resolved, keep_in(driver.images())),
            device, name);
}

void BoundEngine::add_scripted(const ScriptedConfig& config) {
  ScriptedConfig resolved = config;
  if (!batching) resolved.planner_slots = resolved.generator_slots = resolved.critic_slots = 1;
  add_scripted_lanes(driver, resolved);
}

// ---- names ----------------------------------------------------------------------------------

const char* name_of(SpanOutcome outcome) {
  switch (outcome) {
    case SpanOutcome::kRunning: return "running";
    case SpanOutcome::kDone: return "done";
    case SpanOutcome::kFailed: return "failed";
    case SpanOutcome::kCancelled: return "cancelled";
  }
  return "";
}

ErrorCode code_of(const std::string& name) {
  for (const auto& [code, known] : kErrorCodes) {
    if (name == known) return code;
  }
  throw Error(ErrorCode::kBadRequest, "[_core] '" + name + "' is no error code: see ErrorCode");
}

// ---- counters -------------------------------------------------------------------------------

namespace {

nb::dict dict_of(const RoleCounters& role) {
  nb::dict out;
  out["started"] = role.started;
  out["speculated"] = role.speculated;
  out["promoted"] = role.promoted;
  out["preempted"] = role.preempted;
  out["cancelled"] = role.cancelled;
  out["done"] = role.done;
  out["failed"] = role.failed;
  out["restarted"] = role.restarted;
  out["committed"] = role.committed;
  out["speculation_used"] = role.speculation_used;
  out["speculation_wasted"] = role.speculation_wasted;
  return out;
}

}  // namespace

nb::dict dict_of(const DriverCounters& counters) {
  const Counters& scheduler = counters.scheduler;
  nb::dict out;
  for (const Role role : {Role::kPlanner, Role::kGenerator, Role::kCritic}) {
    out[name_of(role)] = dict_of(scheduler.role[static_cast<std::size_t>(role)]);
  }
  nb::list judged;
  nb::list accepted;
  for (std::size_t i = 1; i < scheduler.judged.size(); ++i) {
    judged.append(scheduler.judged[i]);
    accepted.append(scheduler.accepted[i]);
  }
  out["judged_by_attempt"] = judged;
  out["accepted_by_attempt"] = accepted;
  out["plans_unreadable"] = scheduler.plans_unreadable;
  out["verdicts_unreadable"] = scheduler.verdicts_unreadable;
  out["refined_unreadable"] = scheduler.refined_unreadable;
  out["requests_accepted"] = scheduler.requests_accepted;
  out["requests_refused"] = scheduler.requests_refused;
  nb::dict ended;
  static constexpr std::array<const char*, 4> kOutcomes = {"finished", "failed", "cancelled",
                                                           "deadline"};
  for (std::size_t i = 0; i < kOutcomes.size(); ++i) {
    ended[kOutcomes[i]] = scheduler.requests_ended[i];
  }
  out["requests_ended"] = ended;
  nb::dict decisions;
  for (int i = 0; i < kSpeculationReasons; ++i) {
    decisions[to_string(static_cast<SpeculationReason>(i))] =
        scheduler.decisions[static_cast<std::size_t>(i)];
  }
  out["decisions"] = decisions;
  out["lanes_lost"] = scheduler.lanes_lost;
  out["strays"] = scheduler.strays + counters.stray_reports + counters.text.strays;
  out["text_requests"] = counters.text.requests;
  out["text_cache_hits"] = counters.text.cache_hits;
  out["text_lost"] = counters.text.lost;
  out["prefetches_dropped"] = counters.text.prefetches_dropped;
  out["live"] = counters.live;
  out["unforgotten"] = counters.records - static_cast<std::size_t>(counters.live);
  out["running_calls"] = counters.running;
  out["images"] = counters.images;
  out["image_bytes"] = counters.image_bytes;
  return out;
}

}  // namespace irt
