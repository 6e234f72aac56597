#include "sched/overlap.h"

namespace irt {

std::size_t OverlapMeter::device(const std::string& name) {
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i].name == name) return i;
  }
  devices_.emplace_back().name = name;
  return devices_.size() - 1;
}

void OverlapMeter::advance(Device& device, TimePoint now) noexcept {
  const auto passed = static_cast<double>(now - device.updated);
  device.updated = now;
  const bool planner = device.active[index_of(Role::kPlanner)] > 0;
  const bool generator = device.active[index_of(Role::kGenerator)] > 0;
  const bool critic = device.active[index_of(Role::kCritic)] > 0;
  if (planner) device.planner += passed;
  if (generator) device.beside[index_of(Role::kCritic)] += passed;
  if (critic) device.beside[index_of(Role::kGenerator)] += passed;
  if (generator || critic) device.beside[index_of(Role::kPlanner)] += passed;
}

OverlapMark OverlapMeter::start(std::size_t device, Role role, TimePoint now) {
  Device& on = devices_[device];
  advance(on, now);
  ++on.active[index_of(role)];
  return {device, role, now, on.beside[index_of(role)], on.planner, false};
}

void OverlapMeter::stop(const OverlapMark& mark, TimePoint now) {
  Device& on = devices_[mark.device];
  advance(on, now);
  --on.active[index_of(mark.role)];
}

void OverlapMeter::sample(const OverlapMark& mark, TimePoint now) {
  if (mark.crowded) return;
  Device& on = devices_[mark.device];
  advance(on, now);
  const auto duration = static_cast<double>(now - mark.started);
  const std::size_t role = index_of(mark.role);
  constexpr double kUndisturbed = 0.05;
  if (on.planner - mark.planner <= kUndisturbed * duration || mark.role == Role::kPlanner) {
    on.service[role].add(duration, on.beside[role] - mark.beside, config_);
  }
  time_[role].add(duration, config_.memory);
}

int OverlapMeter::active(std::size_t device, Role role) const noexcept {
  return devices_[device].active[index_of(role)];
}

std::optional<double> OverlapMeter::critic_slowdown(std::size_t device) const noexcept {
  if (config_.critic_slowdown) return config_.critic_slowdown;
  return devices_[device].service[index_of(Role::kCritic)].slowdown(config_);
}

std::optional<double> OverlapMeter::generator_rate(std::size_t device) const noexcept {
  if (config_.generator_rate) return config_.generator_rate;
  const auto slowdown = devices_[device].service[index_of(Role::kGenerator)].slowdown(config_);
  if (!slowdown) return std::nullopt;
  return 1.0 / *slowdown;
}

std::optional<double> OverlapMeter::mean_of(Role role) const noexcept {
  const DecayingMean& time = time_[index_of(role)];
  if (time.samples() < config_.min_samples) return std::nullopt;
  return time.mean();
}

std::optional<double> OverlapMeter::verdict_time() const noexcept { return mean_of(Role::kCritic); }

std::optional<double> OverlapMeter::generate_time() const noexcept {
  return mean_of(Role::kGenerator);
}

}  // namespace irt
