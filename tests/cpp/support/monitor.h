// What must hold of a scheduler whatever happens.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/message.h"
#include "support/snapshot.h"

namespace irt::test {

// Violations within one snapshot taken after apply(); empty = none.
[[nodiscard]] std::vector<std::string> check_snapshot(const Snapshot& snapshot);

// A call under way, as the commands told of it.
struct Running {
  RequestId request = 0;
  LaneId lane = 0;
  bool speculative = false;
  bool cancelled = false;
};

// Follows the events and commands of one scheduler: one run and one terminal per call, capacities,
// the grammar of notices (order, nothing twice, one end), images released exactly once.
class Monitor {
 public:
  // `event` before its commands, in the order of apply(); with the snapshot after it, both must
  // tell the same story.
  void follow(const Event& event, const std::vector<Command>& commands);
  void follow(const Event& event, const std::vector<Command>& commands, const Snapshot& snapshot);

  [[nodiscard]] const std::unordered_map<Key, Running>& running() const noexcept {
    return running_;
  }
  [[nodiscard]] const std::vector<std::string>& violations() const noexcept { return violations_; }
  // True when every accepted request has ended and every image was released.
  [[nodiscard]] bool settled() const;

 private:
  struct Story {
    bool accepted = false;
    bool refused = false;
    bool ended = false;
    int plan_steps = 0;
    int committed = 0;
    std::vector<PlanStep> plan;
    std::vector<Attempt> attempts;  // of the open step
    bool judged = false;            // the last of them
    std::unordered_set<Key> held;
    std::unordered_set<Key> released;
  };

  void compare(const Snapshot& snapshot);
  void take(const Event& event);
  void take(const Command& command);
  void started(const StartCall& start);
  void told(Story& story, RequestId request, const Notice& notice);
  void committed(Story& story, RequestId request, const StepCommitted& step);
  void expect(bool holds, RequestId request, const char* what);

  std::unordered_map<RequestId, Story> stories_;
  std::unordered_map<Key, Running> running_;
  std::unordered_map<LaneId, std::pair<LaneInfo, int>> lanes_;  // and calls under way
  std::vector<std::string> violations_;
};

}  // namespace irt::test
