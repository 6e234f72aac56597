// What neither a snapshot nor the stream of commands shows alone: that requests are served in time,
// fairly, and that only calls which the sequential loop makes are certain.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/message.h"
#include "script.h"
#include "support/monitor.h"
#include "support/reference.h"
#include "support/snapshot.h"

namespace irt::test {

// The reference results of a schedule's requests, made when they are asked for.
class Oracle {
 public:
  Oracle(const std::vector<RequestSpec>& specs, const std::vector<Script>& scripts)
      : specs_(specs), scripts_(scripts), results_(specs.size()) {}
  const ReferenceResult& of(RequestId request);
  bool asks(RequestId request, const Key& call);  // the sequential loop makes this call

 private:
  const std::vector<RequestSpec>& specs_;
  const std::vector<Script>& scripts_;
  std::vector<std::optional<ReferenceResult>> results_;  // `asked` is sorted
};

// Request ids are indices of `specs`.
class CrossCheck {
 public:
  CrossCheck(const std::vector<RequestSpec>& specs, Oracle& oracle, const Monitor& monitor);

  // After each event that the monitor has followed; empty, or what is wrong.
  std::string follow(const Event& event, const std::vector<Command>& commands,
                     const Snapshot& snapshot, TimePoint now);

  // Delivered images whose last run was started speculatively.
  [[nodiscard]] std::uint64_t images_made_ahead() const noexcept { return made_ahead_; }

 private:
  struct Wait {
    bool waits = false;
    TimePoint since = 0;
    std::vector<int> overtaken;  // by request: grants while this one has waited
  };

  std::string take(const std::vector<Command>& commands, TimePoint now);
  std::string told(const Deliver& told, TimePoint now);
  std::string in_time(const Event& event, const Snapshot& snapshot, TimePoint now);
  std::string depth(const Snapshot& snapshot) const;
  std::string fair(const std::vector<Command>& commands, const Snapshot& snapshot, TimePoint now);
  std::string no_dead_images(const std::vector<Command>& commands, const Snapshot& snapshot);

  const std::vector<RequestSpec>& specs_;
  Oracle& oracle_;
  const Monitor& monitor_;
  std::vector<std::array<Wait, kRoles>> waits_;
  std::vector<std::vector<Key>> dead_;   // by request: images that no step needs any more
  std::vector<std::vector<Key>> story_;  // by request: images that a step may start from
  std::unordered_set<Key> ahead_;        // the last run was started speculatively
  std::uint64_t made_ahead_ = 0;
  std::vector<TimePoint> submitted_;  // by request
  TimePoint ticked_ = -1;             // the last event was a Tick at this time
};

}  // namespace irt::test
