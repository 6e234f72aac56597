#include "sched/service_times.h"

#include <algorithm>

namespace irt {

void DecayingMean::add(double value, double memory) noexcept {
  const double keep = memory > 1.0 ? 1.0 - 1.0 / memory : 0.0;
  sum_ = sum_ * keep + value;
  weight_ = weight_ * keep + 1.0;
  ++samples_;
}

void ServiceModel::add(double duration, double overlapped, const PolicyConfig& config) noexcept {
  constexpr double kAlone = 0.05;   // share of overlap that still counts as alone
  constexpr double kBeside = 0.15;  // share from which the overlap can be told from noise
  if (duration <= 0.0) return;
  if (overlapped <= kAlone * duration) {
    alone_.add(duration, config.memory);
  } else if (overlapped >= kBeside * duration) {
    beside_clear_.add(duration - overlapped, config.memory);
    beside_over_.add(overlapped, config.memory);
  }
}

std::optional<double> ServiceModel::slowdown(const PolicyConfig& config) const noexcept {
  if (alone_.samples() < config.min_samples || beside_over_.samples() < config.min_samples) {
    return std::nullopt;
  }
  const double work_left = alone_.mean() - beside_clear_.mean();
  constexpr double kWorst = 16.0;  // the answer is noise beyond it
  if (work_left * kWorst <= beside_over_.mean()) return kWorst;
  return std::max(1.0, beside_over_.mean() / work_left);
}

std::size_t ServiceTimes::device(const std::string& name) {
  const auto found = std::ranges::find(devices_, name, &Device::name);
  const auto index = static_cast<std::size_t>(found - devices_.begin());
  if (found == devices_.end()) devices_.emplace_back().name = name;
  return index;
}

void ServiceTimes::advance(Device& device, TimePoint now) noexcept {
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

CallTiming ServiceTimes::start(std::size_t device, Role role, TimePoint now) {
  Device& on = devices_[device];
  advance(on, now);
  ++on.active[index_of(role)];
  return {device, role, now, on.beside[index_of(role)], on.planner, false};
}

void ServiceTimes::stop(const CallTiming& timing, TimePoint now) {
  Device& on = devices_[timing.device];
  advance(on, now);
  --on.active[index_of(timing.role)];
}

void ServiceTimes::sample(const CallTiming& timing, TimePoint now) {
  if (timing.crowded) return;
  Device& on = devices_[timing.device];
  advance(on, now);
  const auto duration = static_cast<double>(now - timing.started);
  const std::size_t role = index_of(timing.role);
  constexpr double kUndisturbed = 0.05;
  if (on.planner - timing.planner <= kUndisturbed * duration || timing.role == Role::kPlanner) {
    on.service[role].add(duration, on.beside[role] - timing.beside, config_);
  }
  time_[role].add(duration, config_.memory);
}

std::optional<double> ServiceTimes::critic_slowdown(std::size_t device) const noexcept {
  if (config_.critic_slowdown) return config_.critic_slowdown;
  return devices_[device].service[index_of(Role::kCritic)].slowdown(config_);
}

std::optional<double> ServiceTimes::generator_rate(std::size_t device) const noexcept {
  if (config_.generator_rate) return config_.generator_rate;
  const auto slowdown = devices_[device].service[index_of(Role::kGenerator)].slowdown(config_);
  return slowdown ? std::optional(1.0 / *slowdown) : std::nullopt;
}

}  // namespace irt
