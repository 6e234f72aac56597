#include "engine/generator_lane.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "engine/lane_inbox.h"
#include "engine/lru.h"

namespace irt {

namespace {

using TextRef = std::shared_ptr<const TextEmbedding>;
using LatentsRef = std::shared_ptr<const Latents>;

constexpr int kFailuresUntilDown = 2;  // failed graph runs in a row

Key key_of_ids(const EncodedText& text) {
  KeyBuilder builder("irt.prompt.1");
  for (const std::int64_t id : text.ids) builder.add(static_cast<std::uint64_t>(id));
  for (const std::int64_t bit : text.mask) builder.add(static_cast<std::uint64_t>(bit));
  return builder.finish();
}

}  // namespace

struct GeneratorLane::Impl {
  struct Active {
    WorkRef work;
    DenoiseJob job;
  };

  LaneInfo info;
  LaneEvents& events;
  ImageStore& images;
  TextBroker& texts;
  std::size_t slots;
  Denoiser denoiser;
  Lru<Key, TextRef> text_cache;
  Lru<Key, LatentsRef> latent_cache;
  LaneInbox inbox;
  std::vector<std::unique_ptr<Active>> active;
  int failures = 0;
  // Encodings that were hinted, once the text lane has made them. Shared with its callbacks.
  struct Hinted {
    std::mutex mutex;
    std::vector<EncodedRef> texts;
  };
  std::shared_ptr<Hinted> hinted = std::make_shared<Hinted>();
  std::jthread thread;  // last: stops and joins before the rest goes

  Impl(LaneInfo lane, const GeneratorLaneConfig& config, LaneEvents& to, ImageStore& store,
       TextBroker& broker)
      : info(std::move(lane)),
        events(to),
        images(store),
        texts(broker),
        slots(static_cast<std::size_t>(std::max(config.slots, 1))),
        denoiser(config.generator, config.session),
        text_cache(config.text_cache),
        latent_cache(config.latent_cache) {}

  void loop(std::stop_token stop) {
    const std::stop_callback interrupt(stop, [this] { denoiser.terminate(); });
    LaneInbox::Batch batch;
    while (inbox.take(stop, !active.empty(), slots - active.size(), batch)) {
      for (const WorkRef& work : batch.ended) end_early(*work);
      drop_cancelled();  // before the encoders run for what is new
      for (const WorkRef& work : batch.ready) admit(work);
      if (batch.hint) follow(*batch.hint);
      drop_cancelled();
      if (!active.empty()) step(stop);
    }
    for (const WorkRef& work : inbox.drain()) events.cancelled(work->call.key);
  }

  void end_early(const LaneWork& work) {
    inbox.forget(work.call.key);
    if (work.cancelled) {
      events.cancelled(work.call.key);
    } else {
      events.failed(work.call.key, *work.failure);
    }
  }

  TextRef embed(const EncodedText& text, bool cached) {
    const Key key = key_of_ids(text);
    if (cached) {
      if (const TextRef* hit = text_cache.get(key)) return *hit;
    }
    auto made = std::make_shared<const TextEmbedding>(denoiser.encode_text(text.ids, text.mask));
    if (cached) text_cache.put(key, made);
    return made;
  }

  LatentsRef latents(const ImageRef& image, bool cached) {
    if (!image) return nullptr;
    if (cached) {
      if (const LatentsRef* hit = latent_cache.get(image->key)) return *hit;
    }
    auto made = std::make_shared<const Latents>(denoiser.encode_image(image->pixels.view()));
    if (cached) latent_cache.put(image->key, made);
    return made;
  }

  void admit(const WorkRef& work) {
    const Call& call = work->call;
    try {
      auto entry = std::make_unique<Active>();
      entry->work = work;
      entry->job = denoiser.begin(embed(*work->text, call.devices.encode_text_ahead),
                                  latents(work->images.front(), call.devices.cache_vision),
                                  call.seed, call.width, call.height, call.denoising_steps);
      active.push_back(std::move(entry));
    } catch (const Error& error) {
      fail(call.key, {error.code(), error.what()});
    } catch (const std::exception& error) {
      fail(call.key, {ErrorCode::kBackendFailed, error.what()});
    }
  }

  void follow(const Hint& hint) {
    try {
      if (hint.what == Hint::What::kImageFeatures) {
        if (hint.image) (void)latents(images.get(hint.image), true);
        return;
      }
      if (hint.text.empty()) {
        embed_hinted();
        return;
      }
      TextJob job;
      job.kind = TextJob::Kind::kGenerate;
      job.text = hint.text;
      // The text lane answers on another thread; an empty hint brings the work back to this one.
      texts.request(std::move(job),
                    [box = hinted, inbox = inbox](EncodedRef text, std::optional<Failure>) mutable {
                      if (!text) return;
                      {
                        const std::scoped_lock lock(box->mutex);
                        box->texts.push_back(std::move(text));
                      }
                      inbox.hint(Hint{});
                    });
    } catch (const std::exception&) {
      // A hint is droppable; the call that needs it will report the error.
    }
  }

  void embed_hinted() {
    std::vector<EncodedRef> ready;
    {
      const std::scoped_lock lock(hinted->mutex);
      ready.swap(hinted->texts);
    }
    for (const EncodedRef& text : ready) (void)embed(*text, true);
  }

  void drop_cancelled() {
    for (std::size_t i = 0; i < active.size();) {
      if (!active[i]->work->cancelled) {
        ++i;
        continue;
      }
      const Key key = retire(i);
      events.cancelled(key);
    }
  }

  Key retire(std::size_t i) {
    const Key key = active[i]->work->call.key;
    inbox.forget(key);
    active.erase(active.begin() + static_cast<std::ptrdiff_t>(i));
    return key;
  }

  void fail(const Key& key, Failure failure) {
    inbox.forget(key);
    events.failed(key, std::move(failure));
  }

  // One denoising step for the jobs that may share a batch with the first certain one.
  void step(const std::stop_token& stop) {
    const auto lead =
        std::ranges::find_if(active, [](const auto& entry) { return !entry->work->speculative; });
    const DenoiseJob& shape = lead == active.end() ? active.front()->job : (*lead)->job;
    std::vector<DenoiseJob*> jobs;
    for (const auto& entry : active) {
      if (Denoiser::same_shape(entry->job, shape)) jobs.push_back(&entry->job);
    }
    try {
      denoiser.step(jobs);
      failures = 0;
    } catch (const std::exception& error) {
      if (stop.stop_requested()) return;  // `drain` ends the calls
      fail_all(error.what());
      return;
    }
    for (std::size_t i = 0; i < active.size();) {
      if (!active[i]->job.finished()) {
        ++i;
        continue;
      }
      finish(i);
    }
  }

  void finish(std::size_t i) {
    const std::unique_ptr<Active> entry = std::move(active[i]);
    active.erase(active.begin() + static_cast<std::ptrdiff_t>(i));
    const Key key = entry->work->call.key;
    if (entry->work->cancelled) {
      inbox.forget(key);
      events.cancelled(key);
      return;
    }
    try {
      const ImageRef image = images.put(key, denoiser.decode(entry->job));
      inbox.forget(key);
      events.done(key, Image{key, image->hash});
    } catch (const Error& error) {
      fail(key, {error.code(), error.what()});
    } catch (const std::exception& error) {
      fail(key, {ErrorCode::kBackendFailed, error.what()});
    }
  }

  void fail_all(const std::string& why) {
    const Failure failure{ErrorCode::kBackendFailed, "[" + info.name + "] " + why};
    while (!active.empty()) {
      const Key key = retire(active.size() - 1);
      events.failed(key, failure);
    }
    if (++failures >= kFailuresUntilDown) events.down(info.id, failure);
  }
};

GeneratorLane::GeneratorLane(LaneInfo info, const GeneratorLaneConfig& config, LaneEvents& events,
                             ImageStore& images, TextBroker& texts)
    : impl_(std::make_unique<Impl>(std::move(info), config, events, images, texts)) {
  impl_->thread = std::jthread([impl = impl_.get()](std::stop_token stop) { impl->loop(stop); });
}

GeneratorLane::~GeneratorLane() = default;

const LaneInfo& GeneratorLane::info() const noexcept { return impl_->info; }
void GeneratorLane::start(const Call& call, bool speculative) {
  impl_->inbox.start(call, speculative, impl_->images, impl_->texts);
}
void GeneratorLane::promote(const Key& call) { impl_->inbox.promote(call); }
void GeneratorLane::cancel(const Key& call) { impl_->inbox.cancel(call); }
void GeneratorLane::hint(const Hint& hint) { impl_->inbox.hint(hint); }

}  // namespace irt
