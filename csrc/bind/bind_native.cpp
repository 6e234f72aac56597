// Configuration of native roles, and the synchronous roles of the reference loop.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "bind/engine.h"
#include "bind/native_config.h"
#include "engine/image_model.h"
#include "engine/inline_roles.h"
#include "engine/model_lane.h"
#include "engine/vlm_model.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {

namespace {

using Ids = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Pixels = nb::ndarray<const std::uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;

ImageView view_of(const Pixels& pixels) {
  return {pixels.data(), static_cast<int>(pixels.shape(1)), static_cast<int>(pixels.shape(0))};
}

std::span<const std::int64_t> span_of(const Ids& ids) { return {ids.data(), ids.size()}; }

// A Python attribute that stands for a field of a member of the bound struct.
template <auto Outer, auto Inner, typename Owner, typename... Extra>
void field(nb::class_<Owner, Extra...>& cls, const char* name) {
  using Value = std::remove_cvref_t<decltype((std::declval<Owner&>().*Outer).*Inner)>;
  cls.def_prop_rw(
      name, [](const Owner& self) { return (self.*Outer).*Inner; },
      [](Owner& self, Value value) { (self.*Outer).*Inner = std::move(value); });
}

// The same, one level deeper: BoundVlmConfig::config.<Outer>.<Inner>.
template <auto Outer, auto Inner>
void deep_field(nb::class_<BoundVlmConfig>& cls, const char* name) {
  using Value = std::remove_cvref_t<decltype((std::declval<VlmConfig&>().*Outer).*Inner)>;
  cls.def_prop_rw(
      name, [](const BoundVlmConfig& self) { return (self.config.*Outer).*Inner; },
      [](BoundVlmConfig& self, Value value) { (self.config.*Outer).*Inner = std::move(value); });
}

void bind_session_options(nb::module_& m) {
  nb::class_<SessionOptions>(m, "SessionOptions", "How ONNX Runtime runs the graphs of a role.")
      .def(nb::init<>())
      .def_rw("intra_op_threads", &SessionOptions::intra_op_threads)
      .def_rw("inter_op_threads", &SessionOptions::inter_op_threads)
      .def_rw("spinning", &SessionOptions::spinning)
      .def_rw("providers", &SessionOptions::providers)
      .def_rw("provider_options", &SessionOptions::provider_options)
      .def_rw("config", &SessionOptions::config);
}

void bind_vlm_config(nb::module_& m) {
  using B = BoundVlmConfig;
  using D = DecoderConfig;
  using V = VisionConfig;
  nb::class_<B> cls(m, "VlmConfig", "A planner or critic on the native runtime.");
  cls.def(nb::init<>());
  cls.def_prop_rw(
      "family", [](const B& self) { return self.config.decoder_config.family; },
      [](B& self, const std::string& name) {
        self.config.decoder_config.family = self.config.vision_config.family = name;
      });
  field<&B::config, &VlmConfig::decoder>(cls, "decoder");
  field<&B::config, &VlmConfig::vision>(cls, "vision");
  deep_field<&VlmConfig::decoder_config, &D::layers>(cls, "layers");
  deep_field<&VlmConfig::decoder_config, &D::hidden>(cls, "hidden");
  deep_field<&VlmConfig::decoder_config, &D::kv_heads>(cls, "kv_heads");
  deep_field<&VlmConfig::decoder_config, &D::head_dim>(cls, "head_dim");
  deep_field<&VlmConfig::decoder_config, &D::vocab>(cls, "vocab");
  deep_field<&VlmConfig::decoder_config, &D::deepstack_levels>(cls, "deepstack_levels");
  deep_field<&VlmConfig::decoder_config, &D::image_token_id>(cls, "image_token_id");
  deep_field<&VlmConfig::decoder_config, &D::eos_token_ids>(cls, "eos_token_ids");
  deep_field<&VlmConfig::decoder_config, &D::cache_length>(cls, "cache_length");
  deep_field<&VlmConfig::decoder_config, &D::slots>(cls, "slots");
  deep_field<&VlmConfig::decoder_config, &D::prefill_chunk>(cls, "prefill_chunk");
  deep_field<&VlmConfig::decoder_config, &D::decode_graph>(cls, "decode_graph");
  deep_field<&VlmConfig::vision_config, &V::patch_size>(cls, "patch_size");
  deep_field<&VlmConfig::vision_config, &V::merge_size>(cls, "merge_size");
  deep_field<&VlmConfig::vision_config, &V::temporal_patch_size>(cls, "temporal_patch_size");
  deep_field<&VlmConfig::vision_config, &V::mean>(cls, "image_mean");
  deep_field<&VlmConfig::vision_config, &V::std>(cls, "image_std");
  deep_field<&VlmConfig::vision_config, &V::min_pixels>(cls, "min_pixels");
  deep_field<&VlmConfig::vision_config, &V::max_pixels>(cls, "max_pixels");
  field<&B::config, &VlmConfig::max_pixels_many>(cls, "max_pixels_many");
  field<&B::config, &VlmConfig::many>(cls, "many");
  field<&B::config, &VlmConfig::true_tokens>(cls, "true_tokens");
  field<&B::config, &VlmConfig::false_tokens>(cls, "false_tokens");
  field<&B::config, &VlmConfig::verdict_threshold>(cls, "verdict_threshold");
  field<&B::config, &VlmConfig::max_new_tokens>(cls, "max_new_tokens");
  field<&B::config, &VlmConfig::vision_cache>(cls, "vision_cache");
  field<&B::config, &VlmConfig::session>(cls, "session");
  deep_field<&VlmConfig::sampling, &SamplingParams::temperature>(cls, "temperature");
  deep_field<&VlmConfig::sampling, &SamplingParams::top_k>(cls, "top_k");
  deep_field<&VlmConfig::sampling, &SamplingParams::top_p>(cls, "top_p");
  cls.def_rw("special_tokens", &B::special_tokens);
  cls.def_rw("grammars", &B::grammars);
  cls.def_prop_rw(
      "token_bytes",
      [](const B& self) {
        std::vector<nb::bytes> out;
        for (const std::string& token : self.token_bytes) {
          out.emplace_back(token.data(), token.size());
        }
        return out;
      },
      [](B& self, const std::vector<nb::bytes>& tokens) {
        self.token_bytes.clear();
        for (const nb::bytes& token : tokens) {
          self.token_bytes.emplace_back(token.c_str(), token.size());
        }
      });
}

void bind_generator_config(nb::module_& m) {
  using L = ImageModelConfig;
  using G = GeneratorConfig;
  nb::class_<L> cls(m, "GeneratorConfig", "An image generator on the native runtime.");
  cls.def(nb::init<>());
  field<&L::generator, &G::family>(cls, "family");
  cls.def_prop_rw(
      "parts",
      [](const L& self) {
        std::vector<std::pair<std::string, std::string>> parts;
        for (const Part& part : self.generator.parts) parts.emplace_back(part.name, part.path);
        return parts;
      },
      [](L& self, const std::vector<std::pair<std::string, std::string>>& parts) {
        self.generator.parts.clear();
        for (const auto& [name, path] : parts) self.generator.parts.push_back({name, path});
      },
      "Graphs as (name, path), by the names of the family.");
  field<&L::generator, &G::latent_channels>(cls, "latent_channels");
  field<&L::generator, &G::text_dim>(cls, "text_dim");
  field<&L::generator, &G::max_sequence_length>(cls, "max_sequence_length");
  field<&L::generator, &G::token_pixels>(cls, "token_pixels");
  field<&L::generator, &G::reference_time>(cls, "reference_time");
  field<&L::generator, &G::default_width>(cls, "default_width");
  field<&L::generator, &G::default_height>(cls, "default_height");
  field<&L::generator, &G::default_steps>(cls, "default_steps");
  field<&L::generator, &G::max_batch>(cls, "max_batch");
  cls.def_rw("slots", &L::slots)
      .def_rw("text_cache", &L::text_cache)
      .def_rw("latent_cache", &L::latent_cache)
      .def_rw("session", &L::session);
}

const char* name_of(StopReason stop) {
  switch (stop) {
    case StopReason::kNone: return "none";
    case StopReason::kEndOfText: return "end_of_text";
    case StopReason::kLength: return "length";
    case StopReason::kCacheFull: return "cache_full";
    case StopReason::kNonFinite: return "non_finite";
    case StopReason::kGrammar: return "grammar";
  }
  return "none";
}

void bind_inline_roles(nb::module_& m) {
  nb::class_<Answer>(m, "Answer", "One whole answer of a vision-language model.")
      .def_prop_ro("text",
                   [](const Answer& self) { return nb::bytes(self.text.data(), self.text.size()); })
      .def_ro("tokens", &Answer::tokens)
      .def_ro("offsets", &Answer::offsets, "Byte offset in text at which each token begins.")
      .def_ro("verdict_p", &Answer::p_success, "p(success) at each token, from its logits.")
      .def_prop_ro("stop", [](const Answer& self) { return name_of(self.stop); });

  nb::class_<InlineVlm>(m, "NativeVlm", "A planner or critic called synchronously, without a lane.")
      .def(
          "__init__",
          [](InlineVlm* self, const BoundVlmConfig& config, int slots) {
            new (self) InlineVlm(config.resolved(), slots);
          },
          "config"_a, "slots"_a = 1)
      .def(
          "answers",
          [](InlineVlm& self,
             const std::vector<std::tuple<Ids, std::vector<Pixels>, std::uint64_t, int>>& asked) {
            std::vector<Question> questions;
            for (const auto& [ids, images, seed, retry] : asked) {
              Question& question = questions.emplace_back();
              question.ids = span_of(ids);
              for (const Pixels& image : images) question.images.push_back(view_of(image));
              question.seed = seed;
              question.retry = retry;
            }
            const nb::gil_scoped_release unlocked;
            return self.answers(questions);
          },
          "questions"_a,
          "Answers (ids, images, seed, retry) tuples, `slots` at once; for measurements.")
      .def("constrain", &InlineVlm::constrain, "on"_a,
           "Off: the next questions are asked as if the role had no grammar; for measurements.")
      .def(
          "counters",
          [](InlineVlm& self) {
            const auto c = self.counters();
            nb::dict out;
            out["steps"] = c.steps;
            out["tokens"] = c.tokens;
            out["constrained_tokens"] = c.constrained_tokens;
            out["corrected_tokens"] = c.corrected_tokens;
            return out;
          },
          nb::sig("def counters(self) -> dict[str, int]"))
      .def(
          "answer",
          [](InlineVlm& self, const Ids& ids, const std::vector<Pixels>& images, std::uint64_t seed,
             int retry) {
            Question question{span_of(ids), {}, seed, retry};
            for (const Pixels& image : images) question.images.push_back(view_of(image));
            const nb::gil_scoped_release unlocked;
            return self.answer(question);
          },
          "ids"_a, "images"_a, "seed"_a, "retry"_a = 0,
          "Decodes to the end of the answer. `ids` holds one image token for each image.");

  nb::class_<InlineGenerator>(m, "NativeGenerator",
                              "The generator called synchronously at batch 1.")
      .def(nb::init<const ImageModelConfig&>(), "config"_a)
      .def(
          "generate",
          [](InlineGenerator& self, const Ids& ids, const Ids& mask,
             const std::optional<Pixels>& source, std::uint64_t seed, int width, int height,
             int steps) {
            PixelBuffer made;
            {
              const nb::gil_scoped_release unlocked;
              made = self.generate(span_of(ids), span_of(mask),
                                   source ? view_of(*source) : ImageView{}, seed, width, height,
                                   steps);
            }
            auto* kept = new PixelBuffer(std::move(made));
            const nb::capsule owner(kept,
                                    [](void* p) noexcept { delete static_cast<PixelBuffer*>(p); });
            const std::size_t shape[] = {static_cast<std::size_t>(kept->height),
                                         static_cast<std::size_t>(kept->width), 3};
            return nb::ndarray<nb::numpy, const std::uint8_t, nb::ndim<3>>(kept->data.data(), 3,
                                                                           shape, owner);
          },
          "ids"_a, "mask"_a, "source"_a.none(), "seed"_a, "width"_a = 0, "height"_a = 0,
          "steps"_a = 0, "Makes one image: uint8 [height, width, 3], read-only.");
}

}  // namespace

namespace {

void add_model(Driver& driver, Role role, std::unique_ptr<RoleModel> model,
               const std::string& device, const std::string& name) {
  const LaneInfo info{driver.next_lane_id(), role, model->capacity(), device, name};
  driver.add_lane(
      std::make_unique<ModelLane>(info, std::move(model), driver, driver.images(), driver.text()));
}

template <Role kRole>
void add_vlm(BoundEngine& self, const BoundVlmConfig& config, const std::string& device,
             const std::string& name) {
  add_model(self.driver(), kRole, std::make_unique<VlmModel>(config.resolved()), device, name);
}

void add_generator(BoundEngine& self, const ImageModelConfig& config, const std::string& device,
                   const std::string& name) {
  auto model = std::make_unique<ImageModel>(config, keep_in(self.driver().images()));
  add_model(self.driver(), Role::kGenerator, std::move(model), device, name);
}

}  // namespace

void add_roles(nb::class_<BoundEngine>& cls) {
  using Unlocked = nb::call_guard<nb::gil_scoped_release>;
  cls.def("add_planner", &add_vlm<Role::kPlanner>, "config"_a, "device"_a, "name"_a, Unlocked())
      .def("add_critic", &add_vlm<Role::kCritic>, "config"_a, "device"_a, "name"_a, Unlocked())
      .def("add_generator", &add_generator, "config"_a, "device"_a, "name"_a, Unlocked());
}

void bind_native(nb::module_& m) {
  bind_session_options(m);
  bind_vlm_config(m);
  bind_generator_config(m);
  bind_inline_roles(m);
}

}  // namespace irt
