"""What every table is registered with."""

import sqlalchemy as sa

metadata = sa.MetaData()
