// Models that take their time and answer from a script, on real lanes.
#pragma once

#include <memory>

#include "engine/driver.h"
#include "engine/lane.h"
#include "sim/script.h"

namespace irt {

// Durations of a call that runs alone, in milliseconds.
struct ScriptedTimes {
  double planner_ms = 200.0;    // the whole answer
  double first_step_ms = 50.0;  // its first step closes here, the others evenly until planner_ms
  double generator_ms = 100.0;  // denoise_steps equal parts, a cancel point after each
  int denoise_steps = 4;
  double critic_ms = 80.0;   // the whole answer
  double verdict_ms = 40.0;  // its boolean; an accepted answer ends here (with early_verdict)
  // Every call's times are multiplied by a factor in [1 - jitter, 1 + jitter], drawn anew each run.
  double jitter = 0.0;
  // With a shared device: a part of a call that starts while another lane is busy takes this many
  // times as long.
  double slowdown = 1.0;
};

struct ScriptedConfig {
  Script script;
  ScriptedTimes times;
  int planner_slots = 4;
  int generator_slots = 1;
  int critic_slots = 4;
  bool shared = false;  // one device for all three
};

struct ScriptedIds {
  LaneId planner = 0;
  LaneId generator = 0;
  LaneId critic = 0;
};

// Adds a planner, a generator and a critic. They need no text lane.
// Throws Error(kBadRequest) for a configuration that makes no sense.
ScriptedIds add_scripted_lanes(Driver& driver, const ScriptedConfig& config);

// Roles that share a device know of each other by this.
class ScriptedDevice;

// One role: its results are those of script.h, each at its time. A cancelled image ends at its next
// cancel point, an answer at once. `device`: null, or shared with the lanes beside it.
[[nodiscard]] std::unique_ptr<RoleModel> make_scripted_model(
    Role role, const ScriptedConfig& config, std::shared_ptr<ScriptedDevice> device = nullptr);
[[nodiscard]] std::unique_ptr<Lane> make_scripted_lane(
    LaneInfo info, const ScriptedConfig& config, Driver& driver,
    std::shared_ptr<ScriptedDevice> device = nullptr);

}  // namespace irt
