// What the native lanes share: calls that wait for their text, cancel flags, hints.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <unordered_map>
#include <vector>

#include "core/call.h"
#include "core/error.h"
#include "engine/images.h"
#include "engine/text_broker.h"

namespace irt {

// A call that a lane has taken, with everything that must outlive other people's releases.
struct LaneWork {
  Call call;
  std::vector<ImageRef>
      images;  // plan: inputs; generate: source; judge: before, after (null = white)
  EncodedRef text;
  std::optional<Failure> failure;  // before the lane's thread saw the call
  std::atomic<bool> cancelled = false;
  std::atomic<bool> speculative = false;
};
using WorkRef = std::shared_ptr<LaneWork>;

// Thread-safe; one consumer: the lane's thread. Copies share their contents.
class LaneInbox {
 public:
  struct Batch {
    std::vector<WorkRef> ready;  // certain calls first, each group in order of arrival
    std::vector<WorkRef> ended;  // cancelled or failed before they were ready
    std::optional<Hint> hint;    // only when there is nothing else to do
  };

  LaneInbox();
  // Asks `texts` for the encoding; the call is ready when that has come.
  void start(const Call& call, bool speculative, const ImageStore& images, TextBroker& texts);
  void promote(const Key& call);
  void cancel(const Key& call);
  void hint(const Hint& hint);

  // Waits while there is nothing to take, unless `busy`. At most `room` ready calls. False = stop.
  [[nodiscard]] bool take(std::stop_token stop, bool busy, std::size_t room, Batch& out);
  // The terminal event of the call is about to be reported.
  void forget(const Key& call);
  // Everything that is left, for a lane that stops.
  [[nodiscard]] std::vector<WorkRef> drain();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with text callbacks that may outlive the lane
};

}  // namespace irt
