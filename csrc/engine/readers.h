// The book of requests that were not forgotten: what waits for their readers, and whom it wakes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/message.h"
#include "engine/images.h"
#include "engine/trace.h"

namespace irt {

// What a reader is told, with the pixels of the image that it tells of.
struct ReaderEvent {
  Notice notice;
  ImageRef image;  // AttemptReady only
};

// What the reader of a request may still ask for.
enum class Reading {
  kOpen,      // more notices will come
  kEnded,     // RequestEnded waits among the notices
  kConsumed,  // it was taken: the request holds no place any more
};

struct Record {
  std::deque<ReaderEvent> events;  // bounded by the spec: t_max and max_steps
  std::condition_variable ready;
  Reading reading = Reading::kOpen;
  int readers = 0;  // that wait for a notice
  bool watched = false;
  bool abandoned = false;  // forgotten before its end: erased when that comes
  TimePoint deadline = kNever;
  Trace trace;

  [[nodiscard]] bool awaited() const { return events.empty() && (readers > 0 || watched); }
};
using RecordRef = std::shared_ptr<Record>;

// Not thread-safe: the driver's lock guards it, and whoever waits gives that lock away meanwhile.
class Readers {
 public:
  using Lock = std::unique_lock<std::mutex>;

  explicit Readers(ImageStore& images) : images_(images) {}

  RecordRef add(RequestId request, TimePoint deadline);
  void erase(RequestId request) noexcept { records_.erase(request); }
  [[nodiscard]] const RecordRef& find(RequestId request) const;  // null: unknown or forgotten
  [[nodiscard]] const std::map<RequestId, RecordRef>& all() const noexcept { return records_; }
  [[nodiscard]] std::size_t unread() const;  // records that hold a place

  // Puts a notice behind the others; whoever waits for it is in the next take_told().
  void tell(RequestId request, const RecordRef& record, Notice&& notice);
  // Ends all that are open, and forgets those that were abandoned. May be repeated after it threw.
  void end_all(const Failure& why);
  // Whose readers are to be woken, by wake().
  [[nodiscard]] bool any_told() const noexcept { return !told_.empty(); }
  void take_told(std::vector<RecordRef>& told) noexcept { told.swap(told_); }
  void wake(const std::vector<RecordRef>& told) noexcept;

  // Until there is a notice, or none will come any more; false: there is none.
  bool wait(Lock& lock, Record& record, std::chrono::milliseconds timeout);
  [[nodiscard]] ReaderEvent take(Record& record);  // the first notice
  void drop_unread(Record& record);

  // See Driver.
  void watch(RequestId request, Record& record);
  [[nodiscard]] std::vector<RequestId> next_news(Lock& lock, std::chrono::milliseconds timeout);
  // Wakes all who wait; from now on nobody waits for news.
  void close() noexcept;

 private:
  void add_news(RequestId request);

  ImageStore& images_;
  std::map<RequestId, RecordRef> records_;  // in the order of submission
  std::vector<RecordRef> told_;
  std::vector<RequestId> news_;  // watched requests with something new
  std::condition_variable news_ready_;
  bool closed_ = false;
};

}  // namespace irt
