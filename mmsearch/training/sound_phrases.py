"""The name of a kind of sound or a caption goes in, the sentences that people might look for it with come out.

Sounds learn what the sentences of their kind share, in a space that was made for photos and captions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mmsearch.training.classes import fill_prompt

__all__ = ["COMMON", "SOUND_PROMPTS", "SYNTHETIC", "caption_phrases", "class_phrases"]

SOUND_PROMPTS = ("{}", "a {}", "the sound of a {}", "a recording of a {}", "{} sound")
"""Sentences that the name of a class of sounds is measured with; their embeddings are averaged."""

_OF_CLASSES = (
    "{}",
    "a {}",
    "the sound of a {}",
    "a recording of a {}",
    "a {} can be heard",
    "I hear a {}",
    "{} sound",
    "a {} in the background",
)
_OF_CAPTIONS = ("{}", "the sound of {}", "a recording of {}", "{} can be heard")
_ARTICLE = re.compile(r"^(?:an?|the|some)\s+", re.IGNORECASE)


def class_phrases(name: str, more: Mapping[str, Sequence[str]] | None = None) -> tuple[str, ...]:
    """Sentences for the sounds of a class.

    Args:
        name: Of the class, such as ``dog bark``.
        more: Sentences of one's own by the names of classes.

    Returns:
        The name in several sentences, what people call it where it is a common sound, and those of one's own.
    """
    own = () if more is None else more.get(name, ())
    said = [fill_prompt(prompt, name) for prompt in _OF_CLASSES]
    return tuple(dict.fromkeys([*said, *COMMON.get(name.casefold(), ()), *own]))


def caption_phrases(caption: str) -> tuple[str, ...]:
    """Sentences for a sound with a caption: the caption, with and without its article, and as what is heard."""
    plain = caption.strip().rstrip(".!")
    low = plain[:1].lower() + plain[1:]
    said = [prompt.replace("{}", low) for prompt in _OF_CAPTIONS]
    return tuple(dict.fromkeys([caption, *said, _ARTICLE.sub("", low)]))


def _phrases(listed: str) -> tuple[str, ...]:
    """Phrases parted by semicolons."""
    return tuple(" ".join(phrase.split()) for phrase in listed.split(";"))


COMMON: Mapping[str, Sequence[str]] = {
    "baby cry": _phrases(
        """
        a baby crying; baby crying; crying baby; a crying baby; a baby cries; an infant crying; infant cry; crying; a
        newborn baby wailing; a baby screaming; a child crying loudly; a toddler crying; baby; a hungry baby cries; a
        little baby is crying in its crib; wailing infant; the cry of a baby; sobbing child; a small child weeping;
        newborn crying; an unhappy infant; a little kid crying; a bawling baby; cry of a newborn
        """
    ),
    "chainsaw": _phrases(
        """
        a chainsaw; chainsaw; chain saw; a chain saw; a chainsaw cutting wood; a chainsaw running; somebody sawing a
        tree with a chainsaw; a man cutting a tree with a chainsaw; a power saw; a loud motor saw; cutting wood; a
        lumberjack at work; sawing timber; revving a chainsaw; felling a tree; logging in the forest; a saw engine; a
        motor saw; chainsaw engine idling; electric saw; sawing; a gasoline saw; cutting down a tree; a lumberjack
        sawing a log; power tool
        """
    ),
    "clock tick": _phrases(
        """
        a clock ticking; clock ticking; a ticking clock; ticking; tick tock; clock; a clock; a wall clock ticks; the
        ticking of a watch; a watch ticking; an old grandfather clock; an alarm clock ticking; clock tick; a mechanical
        clock; seconds ticking away; a pendulum clock; the second hand of a clock; tick tack of a clock; a pocket watch;
        a timer ticking; alarm clock; clock on the wall; the tick of a clock; wristwatch; tick
        """
    ),
    "dog bark": _phrases(
        """
        a dog barking; dog barking; a barking dog; barking dog; a dog barks; barking; bark; dog; a dog; dogs; dogs
        barking; a big dog barks loudly; a small dog yapping; a puppy barking; a dog woofs; woof woof; an angry dog
        barking at someone; a watchdog; the bark of a dog; a brown dog barking with its mouth open; a hound barking; my
        dog barks at the mailman; puppy
        """
    ),
    "fire crackling": _phrases(
        """
        a crackling fire; fire crackling; fire; a fire burning; a campfire; a bonfire; a fireplace; fire in a fireplace;
        flames; burning wood; a wood fire crackles; crackling flames; logs burning in a stove; a fire in the hearth;
        crackling; a burning log; campfire at night; the crackle of fire; a warm fire; a house on fire; burning; open
        fire; a bonfire at night; firewood burning; flame
        """
    ),
    "helicopter": _phrases(
        """
        a helicopter; helicopter; a helicopter flying; a helicopter in the air; a helicopter hovering; helicopter rotor
        blades; a chopper; chopper flying overhead; a helicopter flies over; a helicopter landing; a helicopter taking
        off; rotor blades spinning; an aircraft flying overhead; a rescue helicopter; a military helicopter; the noise
        of a helicopter; a helicopter passing by; helicopters; a flying helicopter in the sky; whirring rotor; copter;
        helicopter in flight; rotor; a helicopter over the city; police helicopter
        """
    ),
    "person sneeze": _phrases(
        """
        a person sneezing; person sneezing; sneeze; sneezing; a sneeze; somebody sneezes; a man sneezing; a woman
        sneezing; a person sneezes; achoo; a loud sneeze; someone sneezing into a tissue; someone with a cold; sneezing
        and sniffing; a child sneezes; hay fever sneeze; bless you, a sneeze; a girl sneezing; a sneezing man with a
        cold; allergic sneezing; sneezing man; he sneezes; achoo!; someone has a cold and sneezes; sneezes
        """
    ),
    "rain": _phrases(
        """
        rain; raining; rain falling; it is raining; heavy rain; rainfall; a rain shower; rain pouring down; raindrops;
        rain drops on a window; rain on a roof; a rainy day; pouring rain; light rain; rain in the forest; rain on the
        street; drizzle; a downpour; rain dripping on leaves; the patter of rain; storm and rain; wet weather; raining
        outside; a rainy street
        """
    ),
    "rooster": _phrases(
        """
        a rooster; rooster; a rooster crowing; rooster crowing; a crowing rooster; a cock crowing; cock-a-doodle-doo; a
        cockerel; crowing; a rooster crows at dawn; a rooster on a farm; a rooster calls in the morning; chicken; a
        chicken on a farm; a rooster's crow; a cock crows; a red rooster; poultry on a farm; the crow of a cock; a hen
        house with a rooster; cock; rooster in the morning; a crowing cock; farm bird crowing; cockadoodledoo
        """
    ),
    "sea waves": _phrases(
        """
        sea waves; waves; ocean waves; the sea; sea; the ocean; ocean; waves crashing on the beach; waves breaking on
        the shore; waves on the beach; surf; the surf at the coast; water waves hitting rocks; a wave in the ocean; the
        seaside; the beach; waves rolling in; the sound of surf; sea shore with waves; crashing waves; ocean surf; waves
        at the beach; coast; the ocean at the shore
        """
    ),
}
"""What people call some common sounds, by the names of their classes."""

SYNTHETIC: Mapping[str, Sequence[str]] = {
    "noise": _phrases(
        """
        noise; white noise; static; hiss; static noise; a hissing noise; background noise; random noise
        """
    ),
    "electronic tone": _phrases(
        """
        a beep; an electronic tone; a sine wave; a test tone; beeping; an electronic beep; a buzzer; an alarm tone
        """
    ),
    "music": _phrases(
        """
        music; a melody; a song; a tune; music playing; instrumental music; a keyboard playing a tune; a piece of music
        """
    ),
    "voice": _phrases(
        """
        speech; a person talking; a voice; somebody speaking; a man talking; a woman talking; people talking; a
        conversation
        """
    ),
}
"""What people call the sounds that `mmsearch.training.sound_synthesis` makes."""
