// The face of the driver: lanes, requests, readers, the end.
#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "engine/driver.h"

namespace irt {
namespace {

std::string name_of(RequestId request) { return "request " + std::to_string(request); }

std::set<Key> distinct(const std::vector<Key>& images) { return {images.begin(), images.end()}; }

// Equal pixels, equal key: features that a lane has cached for an image serve every request.
Key key_of_pixels(const PixelBuffer& pixels) {
  return KeyBuilder("irt.image.1")
      .add(static_cast<std::uint64_t>(pixels.width))
      .add(static_cast<std::uint64_t>(pixels.height))
      .add(std::string_view(reinterpret_cast<const char*>(pixels.data.data()), pixels.data.size()))
      .finish();
}

}  // namespace

Driver::Driver(const DriverConfig& config)
    : config_(config),
      images_(config.image_bytes),
      text_(config.text_cache),
      scheduler_(config.scheduler),
      owners_(images_),
      timer_(clock_, [this] { post(Tick{}); }) {}

Driver::~Driver() { close(); }

// ---- lanes ----------------------------------------------------------------------------------

LaneId Driver::next_lane_id() {
  const std::lock_guard lock(mutex_);
  return ++last_lane_;
}

void Driver::add_lane(std::unique_ptr<Lane> lane) {
  const LaneInfo info = lane->info();
  {
    const std::lock_guard lock(mutex_);
    if (closing_) throw Error(ErrorCode::kCancelled, "[Driver.add_lane] the engine was closed");
    if (!lanes_.emplace(info.id, std::move(lane)).second) {
      throw Error(ErrorCode::kInternal, "[Driver.add_lane] lane id " + std::to_string(info.id) +
                                            " is taken: ids come from next_lane_id()");
    }
    try {
      apply(LaneUp{info});
    } catch (...) {
      lane = std::move(lanes_.extract(info.id).mapped());  // destroyed after the lock
      throw;
    }
  }
  empty_outbox();
}

// ---- images ---------------------------------------------------------------------------------

Key Driver::put_image(PixelBuffer pixels) {
  const Key key = key_of_pixels(pixels);
  const std::lock_guard lock(mutex_);
  if (closing_) throw Error(ErrorCode::kCancelled, "[Driver.put_image] the engine was closed");
  images_.put(key, std::move(pixels));
  owners_.hold(key);
  ++put_[key];
  return key;
}

void Driver::release_image(const Key& image) {
  const std::lock_guard lock(mutex_);
  const auto held = put_.find(image);
  if (held == put_.end()) {
    throw Error(ErrorCode::kBadRequest, "[Driver.release_image] image " + to_hex(image) +
                                            " was not put, or was released as often as put");
  }
  if (--held->second == 0) put_.erase(held);
  owners_.drop(image);
}

// ---- requests -------------------------------------------------------------------------------

void Driver::admit(const RequestSpec& spec) const {
  if (closing_) throw Error(ErrorCode::kCancelled, "[Driver.submit] the engine was closed");
  // A quarter of the store is left to the requests that are under way.
  const std::size_t limit = config_.image_bytes - config_.image_bytes / 4;
  if (const std::size_t used = images_.bytes(); used > limit) {
    throw Error(ErrorCode::kOverloaded,
                "[Driver.submit] images take " + std::to_string(used) + " bytes, over the " +
                    std::to_string(limit) +
                    " up to which requests are admitted: forget ended requests, wait, or raise "
                    "image_bytes");
  }
  const std::size_t ended = records_.size() - static_cast<std::size_t>(live_);
  if (ended >= config_.max_unforgotten) {
    throw Error(ErrorCode::kOverloaded,
                "[Driver.submit] " + std::to_string(ended) +
                    " ended requests were not forgotten: forget them, or raise max_unforgotten");
  }
  for (const Key& image : spec.images) {
    if (images_.get(image)) continue;
    throw Error(ErrorCode::kBadRequest, "[Driver.submit] image " + to_hex(image) +
                                            " is not in the store: put_image it first, and "
                                            "release it after the submission");
  }
}

RequestId Driver::submit(RequestSpec spec) {
  std::optional<Failure> refused;
  RequestId request = 0;
  {
    const std::lock_guard lock(mutex_);
    admit(spec);
    request = ++last_request_;
    auto record = std::make_shared<Record>();
    const std::set<Key> inputs = distinct(spec.images);
    for (const Key& image : inputs) {
      owners_.hold(image);  // the trajectory's
      owners_.hold(image);  // the reader's
      record->kept.push_back(image);
    }
    records_.emplace(request, record);
    ++live_;
    refused_.reset();
    apply(Submit{request, std::move(spec)});
    refused = std::exchange(refused_, std::nullopt);
    if (refused) {
      --live_;
      for (const Key& image : inputs) owners_.drop(image);
      erase(request);
    }
  }
  empty_outbox();
  if (refused) throw Error(refused->code, refused->message);
  return request;
}

std::optional<Notice> Driver::next_event(RequestId request, std::chrono::milliseconds timeout) {
  std::optional<Notice> notice;
  {
    std::unique_lock lock(mutex_);
    const auto found = records_.find(request);
    if (found == records_.end() || found->second->consumed) {
      throw Error(ErrorCode::kBadRequest,
                  "[Driver.next_event] " + name_of(request) +
                      (found == records_.end() ? " is unknown" : " was read to its end"));
    }
    const std::shared_ptr<Record> record = found->second;  // outlives a forget() meanwhile
    record->ready.wait_for(lock, timeout, [&record] {
      return !record->notices.empty() || record->consumed || record->abandoned;
    });
    if (record->notices.empty()) return std::nullopt;
    notice = std::move(record->notices.front());
    record->notices.pop_front();
    if (std::holds_alternative<RequestEnded>(*notice)) consume(request, *record);
  }
  empty_outbox();
  return notice;
}

void Driver::consume(RequestId request, Record& record) {
  record.consumed = true;
  --live_;
  record.ready.notify_all();  // others who read the same request
  apply(Consumed{request});
}

void Driver::erase(RequestId request) {
  const auto found = records_.find(request);
  for (const Key& image : found->second->kept) owners_.drop(image);
  records_.erase(found);
}

void Driver::cancel(RequestId request) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = records_.find(request);
    if (found == records_.end() || found->second->ended) return;
    apply(CancelRequest{request});
  }
  empty_outbox();
}

void Driver::forget(RequestId request) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = records_.find(request);
    if (found == records_.end()) return;
    const std::shared_ptr<Record> record = found->second;
    record->abandoned = true;
    record->notices.clear();
    record->ready.notify_all();
    if (!record->ended) {
      apply(CancelRequest{request});  // deliver() erases it at its end
    } else {
      if (!record->consumed) consume(request, *record);
      erase(request);
    }
  }
  empty_outbox();
}

Trace Driver::trace(RequestId request) const {
  const std::lock_guard lock(mutex_);
  const auto found = records_.find(request);
  if (found == records_.end()) {
    throw Error(ErrorCode::kBadRequest,
                "[Driver.trace] " + name_of(request) + " is unknown or was forgotten");
  }
  return found->second->trace;
}

// ---- the engine as a whole ------------------------------------------------------------------

void Driver::set_draining(bool draining) {
  const std::lock_guard lock(mutex_);
  scheduler_.set_draining(draining);
}

int Driver::live() const {
  const std::lock_guard lock(mutex_);
  return live_;
}

std::vector<LaneInfo> Driver::lanes() const {
  std::vector<LaneInfo> found;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, lane] : lanes_) found.push_back(lane->info());
  std::sort(found.begin(), found.end(),
            [](const LaneInfo& a, const LaneInfo& b) { return a.id < b.id; });
  return found;
}

DriverCounters Driver::counters() const {
  DriverCounters out;
  out.text = text_.counters();
  const std::lock_guard lock(mutex_);
  out.scheduler = scheduler_.counters();
  out.stray_reports = stray_reports_;
  out.live = live_;
  out.records = records_.size();
  out.running = runs_.size();
  out.images = images_.size();
  out.image_bytes = images_.bytes();
  return out;
}

void Driver::close() {
  const std::lock_guard once(close_mutex_);
  std::unordered_map<LaneId, std::unique_ptr<Lane>> lanes;
  {
    std::unique_lock lock(mutex_);
    if (closed_) return;
    closing_ = true;
    std::vector<RequestId> open;
    for (const auto& [request, record] : records_) {
      if (!record->ended) open.push_back(request);
    }
    std::sort(open.begin(), open.end());
    for (const RequestId request : open) apply(CancelRequest{request});
    // Whatever a lane says from here on is about calls that have ended.
    while (!runs_.empty()) end_run(runs_.begin(), SpanOutcome::kCancelled);
    for (const auto& [id, lane] : lanes_) {
      apply(LaneDown{id, {ErrorCode::kCancelled, "[Driver.close] the engine was closed"}});
    }
    outbox_empty_.wait(lock, [this] { return !emptying_; });
    outbox_.clear();
    for (const auto& record : told_) record->ready.notify_all();
    told_.clear();
    lanes.swap(lanes_);
  }
  timer_.stop();
  text_.close();
  lanes.clear();  // stops and joins; reports of calls are strays now
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

}  // namespace irt
