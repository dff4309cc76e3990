"""The word lists of the corpus. Everything the shipped models have read is built from these lists and our templates."""

from zlib import crc32


def words(text: str) -> list[str]:
    return text.split()


def phrases(text: str) -> list[str]:
    return [phrase.strip() for phrase in text.split(",")]


def held_out(name: str) -> bool:
    """True for about one name in eight. The choice rests on the name alone, so that every script agrees on it."""
    return crc32(name.encode()) % 8 == 0


FIRST_NAMES = words(
    """
    Anna Maria Clara Julia Laura Emma Sofia Lena Nina Eva Alice Rosa Helen Martha Ruth Sarah Rachel Diana Irene Vera
    Olga Ingrid Astrid Freya Elena Lucia Carmen Isabel Teresa Beatrice Camille Chloe Louise Marie Claire Amelie Yuki
    Hana Mei Ling Priya Anita Leila Fatima Amina Zara Nadia Grace Lily Daisy Joan Edith Agnes Nora Molly Bridget
    Fiona Karen Susan Linda Monica Paula Petra Hanna Greta Tamara Sonia Olivia Ava Mia Harper Stella Hazel Ivy Naomi
    John Peter Paul Thomas David Daniel Samuel Simon Andrew James Robert Richard William Henry George Edward Arthur
    Frank Walter Oscar Hugo Felix Max Leo Otto Karl Hans Klaus Jonas Lukas Matteo Marco Luca Paolo Antonio Carlos
    Diego Pablo Miguel Rafael Pedro Louis Pierre Jean Marcel Andre Victor Ivan Boris Dmitri Sergei Pavel Milan Omar
    Hassan Ali Karim Yusuf Ibrahim Kenji Hiro Takeshi Wei Chen Raj Arjun Vikram Sanjay Kofi Kwame Tunde Patrick Sean
    Brian Kevin Liam Owen Dylan Adam Noah Ethan Mark Luke Steven Philip Martin Oliver Jack Harry Charles Alan Roger
    """
)
SURNAMES = words(
    """
    Smith Miller Taylor Baker Carter Cooper Fisher Mason Turner Walker Wright Clark Hill Wood Green Brown White Black
    Young King Stone Marsh Field Brooks Rivers Lane Park Hunt Fox Wolf Bird Swift Sharp Strong Noble Price Bishop
    Knight Page Abbott Novak Kowalski Nowak Horvat Petrov Ivanov Popov Volkov Sokolov Tanaka Suzuki Sato Watanabe
    Nakamura Kim Lee Park Choi Wang Zhang Liu Chen Huang Singh Patel Kumar Sharma Gupta Khan Ahmed Hassan Mensah
    Okafor Adeyemi Diallo Garcia Martinez Lopez Sanchez Perez Gomez Torres Ramirez Flores Rivera Silva Santos Costa
    Ferreira Oliveira Rossi Ferrari Bianchi Romano Ricci Moretti Conti Dubois Durand Leroy Moreau Laurent Bernard
    Petit Martin Schmidt Schneider Weber Meyer Wagner Becker Hoffmann Fischer Keller Vogel Braun Jensen Hansen Nielsen
    Larsen Andersen Olsen Berg Lindqvist Virtanen Korhonen Murphy Kelly Walsh Byrne Ryan Campbell Stewart Fraser
    Morgan Evans Hughes Griffiths Jones Wilson Johnson Anderson Thompson Robinson Lewis Harris Cole Reed Hayes Ward
    """
)
CITIES = words(
    """
    London Paris Berlin Madrid Rome Vienna Prague Warsaw Lisbon Dublin Oslo Stockholm Helsinki Copenhagen Athens
    Budapest Geneva Zurich Milan Turin Naples Venice Florence Lyon Marseille Nice Bordeaux Hamburg Munich Cologne
    Dresden Leipzig Barcelona Seville Valencia Porto Brussels Antwerp Amsterdam Rotterdam Utrecht Edinburgh Glasgow
    Manchester Liverpool Bristol Leeds Oxford Cambridge Cardiff Belfast Moscow Kiev Riga Tallinn Istanbul Ankara Cairo
    Tunis Lagos Nairobi Accra Dakar Tokyo Kyoto Osaka Seoul Beijing Shanghai Delhi Mumbai Chennai Sydney Melbourne
    Perth Auckland Toronto Montreal Vancouver Chicago Boston Seattle Denver Austin Dallas Houston Phoenix Detroit
    Atlanta Miami Portland Philadelphia Baltimore Lima Bogota Santiago Quito Havana Brasilia Jakarta Manila Bangkok
    Hanoi Singapore Dubai Doha Tehran Baghdad Beirut Damascus Casablanca Algiers Kinshasa Harare Lusaka Maputo
    """
)
COUNTRIES = words(
    """
    France Germany Spain Italy Portugal Ireland Norway Sweden Finland Denmark Poland Austria Hungary Greece Turkey
    Russia Ukraine Egypt Morocco Tunisia Nigeria Ghana Kenya Senegal Ethiopia Japan China India Korea Vietnam Thailand
    Indonesia Malaysia Australia Canada Mexico Brazil Argentina Chile Peru Colombia Cuba England Scotland Wales
    Belgium Switzerland Iceland Romania Bulgaria Croatia Serbia Iran Iraq Jordan Lebanon Israel Pakistan Nepal America
    """
)
NATIONALITIES = words(
    """
    French German Spanish Italian Portuguese Irish Norwegian Swedish Finnish Danish Polish Austrian Hungarian Greek
    Turkish Russian Ukrainian Egyptian Moroccan Nigerian Kenyan Ethiopian Japanese Chinese Indian Korean Vietnamese
    Thai Australian Canadian Mexican Brazilian Argentine Chilean Peruvian Cuban English Scottish Welsh Belgian Swiss
    Romanian Bulgarian Croatian Serbian Iranian Iraqi Lebanese Israeli Pakistani Dutch Czech American European African
    """
)
# Ordinary words that names are made of: "Silver Falcon Inc.", "Maple Bridge". None of them is "Hugging" or "Face".
NAME_WORDS = words(
    """
    Silver Golden Blue Red Green White Black Bright Quiet Rapid Brave Clever Happy Lucky Wild Gentle Grand Royal Solar
    Lunar Northern Southern Eastern Western Central Upper Lower Old New First United Global Open Clear Deep High Iron
    Copper Stone Glass Paper Cotton Maple Oak Pine Cedar Willow Birch Rose Lily Falcon Eagle Raven Lion Tiger Bear Fox
    Wolf Otter Dolphin Whale Salmon Horse Turtle River Lake Ocean Harbor Island Valley Mountain Canyon Forest Garden
    Meadow Desert Cloud Storm Thunder Rain Snow Frost Summer Winter Autumn Morning Evening Sun Moon Star Comet Planet
    Rocket Engine Wheel Anchor Arrow Hammer Ladder Mirror Window Candle Lantern Pencil Button Kettle Basket Pocket
    Hand Heart Mind Smile Voice Finger Shoulder Pepper Honey Apple Cherry Lemon Orange Berry Sugar Butter Coffee Data
    Cloud Pixel Vector Signal Matrix Logic Quantum Neural Cyber Digital Metro Urban Fusion Nova Alpha Delta Omega
    Running Dancing Singing Flying Jumping Laughing Rising Falling Shining Walking Thinking Writing Reading Swimming
    Climbing Sailing Growing Sleeping Dreaming Spinning Turning Roaring Waving Resting Racing Painting Burning Leading
    Baking Knitting Whispering Wandering Kissing Clapping Winking Rolling Folding Glowing Moving Talking
    """
)
NAMES = (FIRST_NAMES, SURNAMES, CITIES, COUNTRIES, NATIONALITIES, NAME_WORDS)
PROFESSIONS = words(
    """
    engineer teacher doctor lawyer nurse painter writer singer actor chemist physicist biologist architect journalist
    farmer chef pilot carpenter baker dentist librarian musician photographer sculptor historian economist banker
    designer programmer translator judge surgeon poet composer dancer director geologist astronomer mathematician
    mechanic plumber electrician gardener sailor soldier tailor waiter pharmacist professor
    """
)
FIELDS = phrases(
    """
    physics, chemistry, biology, medicine, law, history, music, mathematics, economics, philosophy, astronomy,
    geology, literature, architecture, engineering, linguistics, psychology, computer science, political science,
    fine arts, nursing, journalism
    """
)
PRODUCTS = phrases(
    """
    bicycles, engines, electric cars, solar panels, batteries, medical devices, furniture, shoes, watches, cameras,
    telescopes, robots, toys, musical instruments, kitchen tools, steel, glass, paper, textiles, chocolate, bread,
    coffee machines, software, video games, chips, ships, trains, aircraft, tractors, wine, cheese, clothes, pianos,
    lamps, tents, tyres, sensors, bricks, paint, computers
    """
)
MONTHS = words("January February March April May June July August September October November December")
WEEKDAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
ORG_SUFFIXES = words(
    "Inc. Inc. Inc. Ltd. Corp. Corp. Corporation GmbH AG LLC Co. PLC Group Holdings Partners Systems Technologies "
    "Industries Labs Motors Airlines Foods Media Bank Energy Pharma Robotics Software Electronics Press Studios"
)
ORG_KINDS = words(
    "University Institute College Museum Hospital Ministry Council Foundation Academy Association Club Party"
)
PLACE_SUFFIXES = words(
    "Bridge Bridge River Lake Park Square Street Avenue Tower Hill Island Valley Bay Beach Mountain Station Airport "
    "Garden Gate Castle Palace Harbor Forest Canyon Falls Road Plaza Market Cathedral Stadium Tunnel"
)
EVENT_SUFFIXES = words(
    "Cup Prize Festival Award Games Treaty War Open Marathon Championship Revolution Medal Fair Express"
)
