#include "engine/readers.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

namespace irt {

RecordRef Readers::add(RequestId request, TimePoint deadline) {
  auto record = std::make_shared<Record>();
  record->deadline = deadline;
  records_.emplace(request, record);
  return record;
}

const RecordRef& Readers::find(RequestId request) const {
  static const RecordRef none;
  const auto found = records_.find(request);
  return found == records_.end() ? none : found->second;
}

std::size_t Readers::unread() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      records_, [](const auto& entry) { return entry.second->reading != Reading::kConsumed; }));
}

void Readers::tell(RequestId request, const RecordRef& record, Notice&& notice) {
  ReaderEvent& told = record->events.emplace_back(std::move(notice), nullptr);
  // Only now: where there was no memory for it, the request still has no end.
  if (std::holds_alternative<RequestEnded>(told.notice)) record->reading = Reading::kEnded;
  if (const auto* made = std::get_if<AttemptReady>(&told.notice)) {
    told.image = images_.hold(made->attempt.image.key, ImageOwner::kNotice);
  }
  if (record->watched) add_news(request);
  if (std::ranges::find(told_, record) == told_.end()) told_.push_back(record);
}

void Readers::end_all(const Failure& why) {
  for (auto next = records_.begin(); next != records_.end();) {
    const auto& [request, record] = *next;
    if (record->abandoned) {
      next = records_.erase(next);
      continue;
    }
    if (record->reading == Reading::kOpen) {
      if (record->watched) add_news(request);  // first, as what follows is not repeated
      record->events.push_back({RequestEnded{Outcome::kFailed, why, false}, nullptr});
      record->reading = Reading::kEnded;
    }
    record->ready.notify_all();
    ++next;
  }
  news_ready_.notify_all();
}

void Readers::wake(const std::vector<RecordRef>& told) noexcept {
  for (const RecordRef& record : told) record->ready.notify_all();
  if (!told.empty()) news_ready_.notify_all();
}

bool Readers::wait(Lock& lock, Record& record, std::chrono::milliseconds timeout) {
  record.ready.wait_for(lock, timeout, [&record] {
    return !record.events.empty() || record.reading == Reading::kConsumed || record.abandoned;
  });
  return !record.events.empty();
}

ReaderEvent Readers::take(Record& record) {
  ReaderEvent event = std::move(record.events.front());
  record.events.pop_front();
  if (event.image) images_.drop(event.image->key, ImageOwner::kNotice);
  return event;
}

void Readers::drop_unread(Record& record) {
  while (!record.events.empty()) static_cast<void>(take(record));
}

void Readers::add_news(RequestId request) {
  if (std::ranges::find(news_, request) == news_.end()) news_.push_back(request);
}

void Readers::watch(RequestId request, Record& record) {
  record.watched = true;
  add_news(request);
  news_ready_.notify_all();
}

std::vector<RequestId> Readers::next_news(Lock& lock, std::chrono::milliseconds timeout) {
  news_ready_.wait_for(lock, timeout, [this] { return !news_.empty() || closed_; });
  return std::exchange(news_, {});
}

void Readers::close() noexcept {
  closed_ = true;
  wake(told_);
  told_.clear();
  news_ready_.notify_all();
}

}  // namespace irt
